package otelwalletcrew

import (
	"net/http"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/propagation"
)

// transport sends no trace to the platform: it has no use for one, and needn't know our ids.
func (t *Telemetry) transport(base http.RoundTripper) http.RoundTripper {
	return otelhttp.NewTransport(base, otelhttp.WithTracerProvider(t.tracers), otelhttp.WithMeterProvider(t.meters),
		otelhttp.WithPropagators(propagation.NewCompositeTextMapPropagator()))
}

// PublicEndpoint is for otelhttp.WithPublicEndpointFn, and always returns true. Anybody can call a webhook endpoint, so the server's span
// is linked to the trace in the request, and never its child.
func PublicEndpoint(*http.Request) bool { return true }
