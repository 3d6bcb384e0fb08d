package inspector

import "net/http"

// An Inspector serves the page. It is an [http.Handler].
type Inspector struct {
	store   *Store
	actions Actions
	options Options
}

// New returns the inspector of a store. Serve it on a loopback address.
func New(store *Store, actions Actions, o Options) *Inspector {
	return &Inspector{store: store, actions: actions, options: o}
}

// ServeHTTP is [http.Handler]'s.
func (i *Inspector) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusNotImplemented)
}

// Close ends the event streams of all pages that are open, so that the server's Shutdown doesn't wait for them:
// srv.RegisterOnShutdown(inspector.Close).
func (i *Inspector) Close() {}
