package frameworks

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"

	"github.com/aws/aws-lambda-go/events"

	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// LambdaV1 is for a REST API (payload format 1.0), where headers keep the sender's case: lambda.Start(LambdaV1(v, handle)).
// It keeps nothing between two calls, so deduplicate in handle, in a database: sqldedupe's Once finds the event's key in the context.
func LambdaV1(v *verifier.Verifier, handle receiver.HandlerFunc) func(context.Context, events.APIGatewayProxyRequest) (events.APIGatewayProxyResponse, error) {
	return func(ctx context.Context, r events.APIGatewayProxyRequest) (events.APIGatewayProxyResponse, error) {
		return events.APIGatewayProxyResponse{StatusCode: receive(ctx, v, handle, r.Headers, r.Body, r.IsBase64Encoded)}, nil
	}
}

// LambdaV2 is for an HTTP API or a function URL (payload format 2.0), where headers are in lower case.
func LambdaV2(v *verifier.Verifier, handle receiver.HandlerFunc) func(context.Context, events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
	return func(ctx context.Context, r events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
		return events.APIGatewayV2HTTPResponse{StatusCode: receive(ctx, v, handle, r.Headers, r.Body, r.IsBase64Encoded)}, nil
	}
}

func receive(ctx context.Context, v *verifier.Verifier, handle receiver.HandlerFunc, headers map[string]string, text string, isBase64 bool) int {
	body := []byte(text)
	if isBase64 {
		var err error
		if body, err = base64.StdEncoding.DecodeString(text); err != nil {
			return http.StatusBadRequest
		}
	}
	header := http.Header{}
	for name, value := range headers {
		header.Set(name, value) // in whatever case it came
	}
	delivery, err := v.DeliveryFrom(ctx, header.Get, body)
	if err != nil {
		return verifier.StatusCode(err)
	}
	event := delivery.Event
	if event.ID != "" { // what the adapters know an event by; receiver.NewHandler sets it by itself
		ctx = receiver.WithKey(ctx, delivery.Scope+"/"+url.PathEscape(event.ID))
	}
	if err := handle(ctx, event); err != nil && !receiver.IsDiscard(err) {
		return http.StatusInternalServerError // asks for the event again
	}
	return http.StatusNoContent
}
