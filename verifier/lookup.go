package verifier

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// A lookup is a source, and what it and those that it wraps can do besides.
type lookup struct {
	source    SecretSource
	refresher Refresher  // the outermost; nil if none looks again
	dated     dated      // the refresher, if it is one
	explainer explaining // the outermost
	scoped    scoped     // the outermost
	tenants   *tenantsSource
	families  *families // if the source is a SecretFunc
	outermost bool      // the refresher is the source itself
	cached    bool      // the refresher is Cached
	chain     []SecretSource
}

// newLookup refuses a source that could never verify anything.
func newLookup(source SecretSource) (*lookup, error) {
	if source == nil {
		return nil, errors.New("verifier: the source is nil")
	}
	chain, err := unwrap(source)
	if err != nil {
		return nil, err
	}
	for _, s := range chain {
		if err := checkSource(s); err != nil {
			return nil, err
		}
	}
	l := &lookup{source: source, chain: chain}
	for i, s := range chain {
		if r, ok := s.(Refresher); ok {
			l.refresher, l.outermost = r, i == 0
			l.dated, _ = as[dated](s)
			_, l.cached = s.(*cachedSource)
			break
		}
	}
	l.explainer, _ = first[explaining](chain)
	l.scoped, _ = first[scoped](chain)
	l.tenants, _ = first[*tenantsSource](chain)
	if _, ok := first[SecretFunc](chain); ok {
		l.families = new(families)
	}
	return l, nil
}

// refreshes reports whether looking again may find what the look-up that ctx notes didn't.
func (l *lookup) refreshes(ctx context.Context) bool {
	if s, ok := l.refresher.(*tenantsSource); ok {
		return s.refreshes(ctx)
	}
	return l.refresher != nil
}

// mayFind reports whether looking again may find a secret that fits where none did, for the reason err.
func (l *lookup) mayFind(ctx context.Context, err error) bool {
	switch {
	case err == nil, errors.Is(err, ErrSecretsUnavailable):
		return false
	case l.cached && isUnknown(nil, err):
		return false // Cached doesn't keep that
	}
	return l.refreshes(ctx)
}

// refresh looks again, and returns what the source has then.
func (l *lookup) refresh(ctx context.Context, tenantID string) ([]walletcrew.Secret, error) {
	secrets, err := l.refresher.Refresh(ctx, tenantID)
	if err != nil || l.outermost { // what wraps the refresher may return other secrets
		return secrets, err
	}
	return l.source.Secrets(ctx, tenantID)
}

// current reports whether what is known is as new as somebody can have it who asked then.
func (l *lookup) current(ctx context.Context, tenantID string, asked time.Time) bool {
	return l.dated == nil || l.dated.current(ctx, tenantID, asked)
}

// explain adds what the source knows of why no secret fitted.
func (l *lookup) explain(ctx context.Context, tenantID string, err error) error {
	if err == nil || l.explainer == nil || errors.Is(err, ErrSecretsUnavailable) {
		return err
	}
	return l.explainer.explain(ctx, tenantID, err)
}

// vouched returns the ID of the tenant whose secret fitted; "" where there is no Tenants to say so.
func (l *lookup) vouched(ctx context.Context, claimed string) (string, error) {
	if l.tenants == nil {
		return "", nil
	}
	t, err := l.tenants.of(ctx, claimed) // it isn't noted if a source of the user's own has kept the secrets
	if err != nil {
		return "", unavailable(err)
	}
	return t.id, nil
}

// scope says what an event's "__id" is unique in. What the header claims has no part in it.
func (l *lookup) scope(f fit) string {
	switch {
	case f.id != "":
		return tenantScope(f.id)
	case l.scoped != nil:
		return l.scoped.scope()
	case l.families != nil:
		return l.families.scope(f.secrets)
	}
	return secretScope(f.secret)
}

// Families are secrets that were returned together, as they are during a rotation. One of each names it: the one that did so before, for
// sources that don't return the old one first, else the first. That is kept for as long as there is room; other processes and those after
// a restart go by the order.
type families struct {
	mu    sync.RWMutex
	names map[walletcrew.Secret]string
}

const maxFamilies = 20_000

func (f *families) scope(secrets []walletcrew.Secret) string {
	f.mu.RLock()
	name, ok := f.of(secrets)
	f.mu.RUnlock()
	if ok {
		return name
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if name, ok := f.of(secrets); ok { // another delivery named it meanwhile
		return name
	}
	name = secretScope(secrets[0])
	if f.names == nil || len(f.names) >= maxFamilies {
		f.names = map[walletcrew.Secret]string{}
	}
	f.names[secrets[0]] = name
	return name
}

func (f *families) of(secrets []walletcrew.Secret) (name string, ok bool) {
	for _, secret := range secrets {
		if name, ok = f.names[secret]; ok {
			return name, true
		}
	}
	return "", false
}

// again refreshes until what is known is new, and hands each answer that differs from the last to try, which says whether it is
// content.
func (l *lookup) again(ctx context.Context, tenantID string, last []walletcrew.Secret, try func([]walletcrew.Secret) bool) error {
	for range 2 {
		asked := time.Now()
		fresh, err := l.refresh(ctx, tenantID)
		if err != nil {
			return err
		}
		if !slices.Equal(fresh, last) { // else a forgery costs two hashes a secret, and not one
			last = fresh
			if try(fresh) {
				return nil
			}
		}
		if l.current(ctx, tenantID, asked) {
			break
		} // else what it found was asked for before, and may lack a webhook that was made since
	}
	return nil
}

// A note is where a source leaves whom it found, for the one who asked it: the sources between them only pass a context on.
type note struct{ found atomic.Pointer[tenant] }

type noteKey struct{}

func withNote(ctx context.Context, n *note) context.Context {
	return context.WithValue(ctx, noteKey{}, n)
}

// noted returns whom the look-up found, nil if it didn't say.
func noted(ctx context.Context) *tenant {
	n, _ := ctx.Value(noteKey{}).(*note)
	if n == nil {
		return nil
	}
	return n.found.Load()
}

func leave(ctx context.Context, t *tenant) {
	if n, _ := ctx.Value(noteKey{}).(*note); n != nil {
		n.found.Store(t)
	}
}
