package receiver

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// A Mux chooses a function for an event by its name. Pass its [Mux.Handle] to [NewHandler].
//
// One function runs, that of the most specific pattern: the exact name, then the pattern with the most characters besides '*'. So "Pass:*"
// comes before "*". Names are compared as by [walletcrew.EventName.Matches].
//
// An event that no pattern matches is [Ignored]: it is acknowledged and logged, but not remembered. Subscribe the webhook to
// [Mux.Patterns], and no such event will come.
//
// A Mux is safe for concurrent use. Usually, all functions are registered before the first event.
type Mux struct {
	mu     sync.RWMutex
	routes []*route                          // the most specific first
	known  map[walletcrew.EventName][]*route // what was found for names, so that any number of patterns costs the same
	around atomic.Pointer[[]HandlerFunc]     // the middleware, the outermost first: each calls the one after it
}

type route struct {
	pattern  walletcrew.EventName
	literals int // characters besides '*'
	kind     kind
	handle   routeFunc
}

// A kind of pattern; the greater is the more specific.
type kind int

const (
	glob kind = iota
	category
	exact
)

// What is kept of names: the header that names an event isn't signed, and may say anything.
const (
	maxKnownNames = 256
	maxKnownName  = 64 // bytes
)

// A routeFunc returns false, and why, if the event doesn't fit the function's type; then the function wasn't called. It says so
// apart from the function's own error, which may come from another Mux.
type routeFunc func(ctx context.Context, e *walletcrew.Event) (bool, error)

// NewMux returns an empty Mux, as does new(Mux).
func NewMux() *Mux { return new(Mux) }

// HandleFunc registers the function for a pattern: a name, or one with '*' in it. It panics if h is nil, or if the pattern
//
//   - is empty
//   - is registered already, by whichever function and in whichever spelling
//   - has white space or control characters, which no subscription may have
func (m *Mux) HandleFunc(pattern walletcrew.EventName, h HandlerFunc) {
	if h == nil {
		panic("receiver: Mux: the function for " + quote(pattern) + " is nil")
	}
	m.register(pattern, func(ctx context.Context, e *walletcrew.Event) (bool, error) { return true, h(ctx, e) })
}

// HandleNames calls [Mux.HandleFunc] for each of several names or patterns. It panics if there are none.
func (m *Mux) HandleNames(h HandlerFunc, names ...walletcrew.EventName) {
	if len(names) == 0 {
		panic("receiver: Mux: HandleNames has no names")
	}
	for _, name := range names {
		m.HandleFunc(name, h)
	}
}

// Use adds middleware around all functions, including those that are registered already or later. The first one is the outermost:
// after Use(a, b), a calls b, and b calls the function. Use calls each middleware once, with the function that it wraps. It
// panics if a middleware is nil, or returns nil.
//
// A middleware also sees [ErrIgnored]. Return that, or an error that wraps it, so that the event is ignored.
func (m *Mux) Use(middleware ...func(HandlerFunc) HandlerFunc) {
	for _, wrap := range middleware {
		if wrap == nil {
			panic("receiver: Mux: the middleware is nil")
		}
		at := m.addAround()
		h := wrap(func(ctx context.Context, e *walletcrew.Event) error { return m.run(ctx, e, at+1) })
		if h == nil {
			panic("receiver: Mux: the middleware returned nil")
		}
		m.setAround(at, h)
	}
}

// addAround makes a place for one more middleware, which holds the functions until it is set.
func (m *Mux) addAround() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	var around []HandlerFunc
	if before := m.around.Load(); before != nil {
		around = slices.Clone(*before)
	}
	around = append(around, m.dispatch)
	m.around.Store(&around)
	return len(around) - 1
}

func (m *Mux) setAround(at int, h HandlerFunc) {
	m.mu.Lock()
	defer m.mu.Unlock()
	around := slices.Clone(*m.around.Load()) // who is reading the other goes on
	around[at] = h
	m.around.Store(&around)
}

// Patterns returns the registered names and patterns, as they were spelled, in alphabetical order. Use them as the Events of a
// [walletcrew.WebhookSpec]: the webhook then gets exactly the events that the Mux has functions for. The slice is yours. It is nil while
// nothing is registered.
func (m *Mux) Patterns() []walletcrew.EventName {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var patterns []walletcrew.EventName
	for _, r := range m.routes {
		patterns = append(patterns, r.pattern)
	}
	slices.Sort(patterns)
	return patterns
}

// On registers a function for the event whose payload type is T, such as [walletcrew.PassInstalled]. It panics if T is no such
// type.
//
// An event whose payload doesn't fit T (Event.DataErr says why) goes to the most specific other pattern that matches, such as
// "Pass:*" or "*". If there is none, Handle returns an error, so that the event isn't lost.
func On[T any](m *Mux, h func(ctx context.Context, e *walletcrew.Event, data *T) error) {
	name := walletcrew.NameOf(*new(T))
	if t := reflect.TypeFor[T](); name == "" || t.Kind() == reflect.Pointer {
		panic(fmt.Sprintf("receiver: On: %v is not the payload type of an event; OnName takes any type", t))
	}
	if h == nil {
		panic("receiver: On: the function for " + quote(name) + " is nil")
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
// that can't be decoded goes to the most specific other pattern, as with [On]; its DataErr says why.
func OnName[T any](m *Mux, name walletcrew.EventName, h func(ctx context.Context, e *walletcrew.Event, data *T) error) {
	if h == nil {
		panic("receiver: OnName: the function for " + quote(name) + " is nil")
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

// Handle is a [HandlerFunc]. It runs the function of the most specific pattern and returns its error, or [ErrIgnored] if no pattern
// matches.
func (m *Mux) Handle(ctx context.Context, e *walletcrew.Event) error { return m.run(ctx, e, 0) }

// run runs the middleware from this place on, and behind the last one the function.
func (m *Mux) run(ctx context.Context, e *walletcrew.Event, at int) error {
	if around := m.around.Load(); around != nil && at < len(*around) {
		return (*around)[at](ctx, e)
	}
	return m.dispatch(ctx, e)
}

func (m *Mux) dispatch(ctx context.Context, e *walletcrew.Event) error {
	var misfit error // of the first function that the event doesn't fit
	for _, r := range m.match(e.Name) {
		fits, err := r.handle(ctx, e)
		if fits {
			return err
		}
		if misfit == nil {
			misfit = err
		}
		if e.DataErr == nil { // the next function must be able to see that it gets what another couldn't take
			copied := *e
			copied.DataErr = err
			e = &copied
		}
	}
	if misfit != nil {
		return fmt.Errorf("receiver: the payload doesn't fit the function's type, and no other pattern takes the event: %w", misfit)
	}
	return ErrIgnored
}

// match returns the routes whose pattern the name fits, the most specific first.
func (m *Mux) match(name walletcrew.EventName) []*route {
	m.mu.RLock()
	found, ok := m.known[name]
	routes := m.routes
	m.mu.RUnlock()
	if ok {
		return found
	}
	for _, r := range routes {
		if name.Matches(r.pattern) {
			found = append(found, r)
		}
	}
	if len(name) <= maxKnownName {
		m.learn(name, routes, found)
	}
	return found
}

// learn keeps what was found for a name. Where there are many names it takes the place of any other.
func (m *Mux) learn(name walletcrew.EventName, among, found []*route) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(among) != len(m.routes) {
		return // others were registered meanwhile
	}
	if m.known == nil {
		m.known = make(map[walletcrew.EventName][]*route)
	}
	for any := range m.known {
		if len(m.known) < maxKnownNames {
			break
		}
		delete(m.known, any)
	}
	m.known[walletcrew.EventName(strings.Clone(string(name)))] = found // not the header that it is a part of
}

func (m *Mux) register(pattern walletcrew.EventName, h routeFunc) {
	if strings.TrimSpace(string(pattern)) == "" {
		panic("receiver: Mux: the pattern is empty")
	}
	if strings.ContainsFunc(string(pattern), func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		panic("receiver: Mux: " + quote(pattern) + " has white space or control characters: no event has such a name")
	}
	stars := strings.Count(string(pattern), "*")
	r := &route{pattern: pattern, literals: utf8.RuneCountInString(string(pattern)) - stars, kind: glob, handle: h}
	switch before := strings.TrimRight(string(pattern), "*"); {
	case stars == 0:
		r.kind = exact
	case len(before)+stars == len(pattern) && strings.IndexAny(before, ":.") == len(before)-1 && before != "":
		r.kind = category
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	at := len(m.routes)
	for i, other := range m.routes {
		if other.pattern.Matches(pattern) && pattern.Matches(other.pattern) {
			panic("receiver: Mux: " + quote(pattern) + " is registered already")
		}
		if at == len(m.routes) && r.moreSpecific(other) {
			at = i
		}
	}
	m.routes = slices.Insert(slices.Clip(m.routes), at, r) // a new one: who is reading the other goes on
	clear(m.known)
}

func (r *route) moreSpecific(other *route) bool {
	if (r.kind == exact) != (other.kind == exact) {
		return r.kind == exact
	}
	return cmp.Or(cmp.Compare(r.literals, other.literals), cmp.Compare(r.kind, other.kind)) > 0
}

func quote(name walletcrew.EventName) string { return fmt.Sprintf("%q", string(name)) }
