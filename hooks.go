package walletcrew

import (
	"context"
	"errors"
	"net/http"
	"slices"
)

// WithCallHook has hook called at the start of each call of the client, and what it returns at the call's end: for traces and metrics.
// One call is all of its attempts; a method such as Ensure makes several. The attempts run under the context that hook returns, which must
// come from ctx. Path is that of the URL, escaped, without a query and with the ids in it. At the end, err is the call's error, or nil.
//
// Hook must be safe for concurrent use and must not panic. Several hooks are nested, the first one outermost. A nil hook is an error.
func WithCallHook(hook func(ctx context.Context, method, path string) (context.Context, func(err error))) Option {
	return func(c *Client) error {
		if hook == nil {
			return errors.New("walletcrew: WithCallHook: the hook is nil")
		}
		c.hooks = append(c.hooks, hook)
		return nil
	}
}

type callHook = func(ctx context.Context, method, path string) (context.Context, func(err error))

// begin calls the hooks, and returns what ends them.
func (c *Client) begin(ctx context.Context, method, path string) (context.Context, func(err error)) {
	ends := make([]func(error), len(c.hooks))
	for i, hook := range c.hooks {
		ctx, ends[i] = hook(ctx, method, path)
	}
	return ctx, func(err error) {
		for _, end := range slices.Backward(ends) {
			if end != nil {
				end(err)
			}
		}
	}
}

// WithTransport has each attempt sent by wrap(base), where base is what would send it otherwise: the client's own transport, or that of
// [WithHTTPClient]. It is for traces and metrics of attempts, such as otelhttp.NewTransport. What wrap returns sees the API key in the
// request's header, and must not log it. A nil wrap is an error, and so is one that returns nil.
func WithTransport(wrap func(base http.RoundTripper) http.RoundTripper) Option {
	return func(c *Client) error {
		if wrap == nil {
			return errors.New("walletcrew: WithTransport: the function is nil")
		}
		c.wrap = append(c.wrap, wrap)
		return nil
	}
}
