package verifier

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// A Mux chooses a function for an event by its name; [Mux.Handle] is the [HandlerFunc] to give to [NewHandler]. One function
// runs, that of the most specific pattern: the exact name, then the pattern with the most characters besides '*', so that
// "Pass:*" comes before "*". Names are compared as [walletcrew.EventName.Matches] does. An event that no pattern matches is
// acknowledged: the subscription may be wider than what a service cares for.
//
// It is safe for concurrent use; functions are usually registered before the first event.
type Mux struct {
	mu         sync.RWMutex
	exact      map[string]*route // by folded name
	categories map[string]*route // by folded category, of the patterns "Category:*"
	globs      []*route          // all other patterns, the most specific first
}

type route struct {
	pattern  walletcrew.EventName // folded
	literals int                  // characters besides '*'

	// Of a pattern with a '*': what stands before the first and after the last, and whether there is but one.
	head, tail string
	simple     bool

	handle routeFunc
}

// A routeFunc returns false, and why, if the event doesn't fit the function's type; then the function wasn't called. It says so
// apart from the function's own error, which may come from another Mux.
type routeFunc func(ctx context.Context, e *walletcrew.Event) (bool, error)

// matches is EventName.Matches for folded names. It looks at both ends of a pattern first, which most names don't fit.
func (r *route) matches(folded []byte) bool {
	if len(folded) < len(r.head)+len(r.tail) || string(folded[:len(r.head)]) != r.head || string(folded[len(folded)-len(r.tail):]) != r.tail {
		return false
	}
	return r.simple || walletcrew.EventName(folded).Matches(r.pattern)
}

// NewMux returns an empty Mux, as does new(Mux).
func NewMux() *Mux { return new(Mux) }

// HandleFunc registers the function for a pattern: a name, or one with '*' in it. It panics if the pattern is empty, is
// registered already (also by [On] or [OnName], also in another spelling of the same), or h is nil.
func (m *Mux) HandleFunc(pattern walletcrew.EventName, h HandlerFunc) {
	if h == nil {
		panic("verifier: Mux: the function for " + quote(pattern) + " is nil")
	}
	m.register(pattern, func(ctx context.Context, e *walletcrew.Event) (bool, error) { return true, h(ctx, e) })
}

// On registers a function for the event whose payload type T is, such as walletcrew.PassInstalled; it panics for a type that is
// none. An event whose payload doesn't fit the type (Event.DataErr says why) goes to the most specific pattern that matches
// besides, such as "Pass:*" or "*"; if there is none, Handle returns an error, so that the event isn't lost.
func On[T any](m *Mux, h func(ctx context.Context, e *walletcrew.Event, data *T) error) {
	name := walletcrew.NameOf(*new(T))
	if t := reflect.TypeFor[T](); name == "" || t.Kind() == reflect.Pointer {
		panic(fmt.Sprintf("verifier: On: %v is not the payload type of an event; OnName takes any type", t))
	}
	if h == nil {
		panic("verifier: On: the function for " + quote(name) + " is nil")
	}
	m.register(name, func(ctx context.Context, e *walletcrew.Event) (bool, error) {
		if data, ok := e.Data.(*T); ok {
			return true, h(ctx, e, data)
		}
		reason := e.DataErr
		if reason == nil {
			reason = fmt.Errorf("its data is a %T", e.Data)
		}
		return false, reason
	})
}

// OnName registers a function for a name or pattern, and decodes the body into your own type T, as Event.Decode does. An event
// that can't be decoded goes where one goes that doesn't fit the type of [On].
func OnName[T any](m *Mux, name walletcrew.EventName, h func(ctx context.Context, e *walletcrew.Event, data *T) error) {
	if h == nil {
		panic("verifier: OnName: the function for " + quote(name) + " is nil")
	}
	m.register(name, func(ctx context.Context, e *walletcrew.Event) (bool, error) {
		data, ok := e.Data.(*T)
		if !ok {
			data = new(T)
			if err := e.Decode(data); err != nil {
				return false, err
			}
		}
		return true, h(ctx, e, data)
	})
}

// Handle is a [HandlerFunc]: it runs the function of the most specific pattern and returns its error; nil if none matches.
func (m *Mux) Handle(ctx context.Context, e *walletcrew.Event) error {
	var reason error // of the first misfit
	for skip := 0; ; skip++ {
		r := m.match(e.Name, skip)
		switch {
		case r == nil && reason == nil:
			return nil
		case r == nil:
			return fmt.Errorf("verifier: the payload doesn't fit the function's type, and no other pattern takes the event: %w", reason)
		}
		fits, err := r.handle(ctx, e)
		if fits {
			return err
		}
		if reason == nil {
			reason = err
		}
	}
}

// match returns the route of the most specific pattern after the first skip, nil if there is none.
func (m *Mux) match(name walletcrew.EventName, skip int) *route {
	var buf [64]byte
	folded := fold(buf[:0], name)
	m.mu.RLock()
	defer m.mu.RUnlock()
	found := func(r *route) bool {
		if r != nil {
			skip--
		}
		return r != nil && skip < 0
	}
	if r := m.exact[string(folded)]; found(r) {
		return r
	}
	var category *route
	if before, _, ok := bytes.Cut(folded, []byte(":")); ok {
		category = m.categories[string(before)]
	}
	for _, r := range m.globs {
		if category != nil && category.literals >= r.literals {
			if found(category) {
				return category
			}
			category = nil
		}
		if r.matches(folded) && found(r) {
			return r
		}
	}
	if found(category) {
		return category
	}
	return nil
}

func (m *Mux) register(pattern walletcrew.EventName, h routeFunc) {
	if strings.TrimSpace(string(pattern)) == "" {
		panic("verifier: Mux: the pattern is empty")
	}
	folded := string(fold(nil, pattern))
	for strings.Contains(folded, "**") {
		folded = strings.ReplaceAll(folded, "**", "*")
	}
	r := &route{pattern: walletcrew.EventName(folded), literals: len(folded) - strings.Count(folded, "*"), handle: h}
	if first := strings.IndexByte(folded, '*'); first >= 0 {
		last := strings.LastIndexByte(folded, '*')
		r.head, r.tail, r.simple = folded[:first], folded[last+1:], first == last
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	category, isCategory := strings.CutSuffix(folded, ":*")
	switch {
	case !strings.Contains(folded, "*"):
		m.exact = put(m.exact, folded, r, pattern)
	case isCategory && !strings.ContainsAny(category, "*:"):
		m.categories = put(m.categories, category, r, pattern)
	default:
		at := len(m.globs)
		for i, other := range m.globs {
			if other.pattern == r.pattern {
				panic("verifier: Mux: " + quote(pattern) + " is registered already")
			}
			if at == len(m.globs) && other.literals < r.literals {
				at = i
			}
		}
		m.globs = append(m.globs[:at], append([]*route{r}, m.globs[at:]...)...)
	}
}

func put(routes map[string]*route, key string, r *route, pattern walletcrew.EventName) map[string]*route {
	if routes[key] != nil {
		panic("verifier: Mux: " + quote(pattern) + " is registered already")
	}
	if routes == nil {
		routes = make(map[string]*route)
	}
	routes[key] = r
	return routes
}

// fold appends the name in the one spelling that all that match each other share.
func fold(dst []byte, name walletcrew.EventName) []byte {
	for _, c := range []byte(name) {
		switch {
		case c == '.':
			c = ':'
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case c >= 0x80:
			return []byte(strings.ToLower(strings.ToUpper(strings.ReplaceAll(string(name), ".", ":"))))
		}
		dst = append(dst, c)
	}
	return dst
}

func quote(name walletcrew.EventName) string { return fmt.Sprintf("%q", string(name)) }
