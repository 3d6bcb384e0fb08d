package receiver

import (
	"context"
	"maps"
	"strings"
)

const (
	maxHeaders     = 16
	maxHeaderName  = 64   // bytes
	maxHeaderValue = 4096 // bytes
)

type headersKey struct{}

// WithHeaders returns a context with headers that travel with the event when it is handed over, such as the "traceparent" of a
// trace. The publishers of the adapters send [Headers] along, and their workers call your function with a context that has them
// again. So a middleware on each side is enough, whatever carries the event.
//
// It adds to the headers that ctx has, and replaces those of the same name. Names are compared in lower case. At most 16 headers are kept.
// A header is left out if it isn't fit for every carrier: a name has 1 to 64 ASCII letters, digits, '-' and '_', a value at most 4,096
// bytes of printable ASCII. The headers of an HTTP request are never among them, because anybody may have written those.
func WithHeaders(ctx context.Context, headers map[string]string) context.Context {
	all := maps.Clone(Headers(ctx))
	if all == nil {
		all = make(map[string]string, len(headers))
	}
	for name, value := range headers {
		name = strings.ToLower(name)
		if _, there := all[name]; (there || len(all) < maxHeaders) && isHeaderName(name) && isHeaderValue(value) {
			all[name] = value
		}
	}
	return context.WithValue(ctx, headersKey{}, all)
}

// Headers returns what [WithHeaders] has put into the context: names in lower case, and their values. Nil if there is nothing. Don't
// change the map.
func Headers(ctx context.Context) map[string]string {
	headers, _ := ctx.Value(headersKey{}).(map[string]string)
	return headers
}

func isHeaderName(name string) bool {
	return name != "" && len(name) <= maxHeaderName && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

func isHeaderValue(value string) bool {
	return len(value) <= maxHeaderValue && !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' })
}
