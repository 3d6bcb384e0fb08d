package walletcrewtest

import (
	"slices"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// WithAPIKey fixes the server's API key. It is for a program in another process that has the key in its configuration. The default is
// random.
func WithAPIKey(key string) Option { return func(s *Server) { s.APIKey = key } }

// WithSecrets fixes the secrets of the webhooks that are created first, in this order. It is for a receiver in another process that has a
// secret in its configuration. Webhooks that are created later have random secrets, as all have without this option.
func WithSecrets(secrets ...walletcrew.Secret) Option {
	return func(s *Server) { s.secrets = slices.Clone(secrets) }
}

// nextSecret returns the secret of a new webhook.
func (s *Server) nextSecret() string {
	if len(s.secrets) == 0 {
		return randomText(64)
	}
	next := s.secrets[0]
	s.secrets = s.secrets[1:]
	return string(next)
}
