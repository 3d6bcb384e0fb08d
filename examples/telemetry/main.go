// Command telemetry is a receiver that Prometheus scrapes. It receives a few events of a platform in memory, so that there is something
// to see, and runs until it is interrupted.
//
//	go run .
//	curl http://127.0.0.1:9464/metrics
//
// Its tests check the names in docs/grafana/walletcrew.json, and follow one trace through NATS JetStream and through River.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/otelwalletcrew"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

func main() {
	log.SetFlags(0)
	listen := flag.String("listen", "127.0.0.1:9464", "the `address` of /metrics")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen); err != nil {
		log.Fatal(err)
	}
}

// instrument is all that it takes for metrics. Registry is your own, or prometheus.NewRegistry(). For traces too, add
// otelwalletcrew.WithTracerProvider, or set OpenTelemetry's global one.
func instrument(registry prometheus.Registerer) (*otelwalletcrew.Telemetry, error) {
	reader, err := exporter.New(exporter.WithRegisterer(registry))
	if err != nil {
		return nil, err
	}
	return otelwalletcrew.New(otelwalletcrew.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(reader))))
}

// newHandler returns the endpoint, to be mounted within tel.Handler. It hands events to a worker in the same process: elsewhere there is a
// queue between the two.
func newHandler(tel *otelwalletcrew.Telemetry, source verifier.SecretSource, fn receiver.HandlerFunc) (*receiver.Handler, error) {
	v, err := verifier.New(source)
	if err != nil {
		return nil, err
	}
	return receiver.NewHandler(v, tel.Publish("orders", tel.Process("orders", fn)), receiver.WithObserver(tel.Observe)), nil
}

func run(ctx context.Context, listen string) error {
	registry := prometheus.NewRegistry()
	tel, err := instrument(registry)
	if err != nil {
		return err
	}
	platform := walletcrewtest.NewServer()
	defer platform.Close()
	client := platform.Client(tel.Client())
	webhooks, err := newHandler(tel, verifier.FromAPI(client), func(context.Context, *walletcrew.Event) error { return nil })
	if err != nil {
		return err
	}
	routes := http.NewServeMux()
	routes.Handle("POST /webhooks/walletcrew", tel.Handler(webhooks))
	routes.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: routes, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 40 * time.Second}
	context.AfterFunc(ctx, func() { _ = listener.Close() }) // which ends Serve
	go func() {
		if err := deliver(ctx, platform, client, "http://"+listener.Addr().String()+"/webhooks/walletcrew"); err != nil && ctx.Err() == nil {
			log.Println(err)
		}
	}()
	log.Printf("metrics: http://%s/metrics", listener.Addr())
	if err = server.Serve(listener); errors.Is(err, net.ErrClosed) {
		err = nil
	}
	grace, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return errors.Join(err, server.Shutdown(grace), webhooks.Shutdown(grace))
}

func deliver(ctx context.Context, platform *walletcrewtest.Server, client *walletcrew.Client, endpoint string) error {
	spec := walletcrew.WebhookSpec{Endpoint: endpoint, Events: []walletcrew.EventName{walletcrew.AllEvents}}
	if _, err := client.Webhooks.Ensure(ctx, spec); err != nil {
		return err
	}
	for _, name := range walletcrew.Events() {
		if _, err := platform.Emit(ctx, name, map[string]any{"passId": "p-1001"}); err != nil {
			return err
		}
	}
	return nil
}
