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

// PublicEndpoint is for otelhttp.WithPublicEndpointFn, and always true: anybody can call a webhook endpoint, so the trace that comes with a
// request is linked to, and never a parent.
func PublicEndpoint(*http.Request) bool { return true }
