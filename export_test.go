package walletcrew

import "net/http"

// OwnTransport is what a client without an http.Client of the user's sends through, if http.DefaultTransport is from.
func OwnTransport(from *http.Transport) *http.Transport {
	return newTransport(from, pingAfter, pingTimeout)
}
