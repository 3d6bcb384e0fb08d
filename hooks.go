package walletcrew

import (
	"context"
	"errors"
	"net/http"
	"slices"
)

// WithCallHook is for traces and metrics. The client calls hook at the start of each call to the API, and the function that hook returned
// at the end, with the call's error or nil. All attempts of a call are one call. A method such as Ensure makes several calls.
//
// The attempts run under the context that hook returns; derive it from ctx. Path is the URL's path, escaped, with the ids in it and without
// a query.
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

// WithTransport sends each attempt through the transport that wrap returns, for traces and metrics of attempts: wrap may be
// otelhttp.NewTransport. Base is the client's own transport, or that of [WithHTTPClient]. The transport sees the API key in the request's
// header, and must not log it. A nil wrap is an error, and so is one that returns nil.
func WithTransport(wrap func(base http.RoundTripper) http.RoundTripper) Option {
	return func(c *Client) error {
		if wrap == nil {
			return errors.New("walletcrew: WithTransport: the function is nil")
		}
		c.wrap = append(c.wrap, wrap)
		return nil
	}
}
