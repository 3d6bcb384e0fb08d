package frameworks

import (
	"context"
	"encoding/base64"
	"net/http"

	"github.com/aws/aws-lambda-go/events"

	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// LambdaV1 is for a REST API (payload format 1.0), where headers keep the sender's case: lambda.Start(LambdaV1(v, handle)).
// It keeps nothing between two calls, so deduplicate in handle, in a database: sqldedupe's Once finds the event's key in the context.
func LambdaV1(v *verifier.Verifier, handle receiver.HandlerFunc) func(context.Context, events.APIGatewayProxyRequest) (events.APIGatewayProxyResponse, error) {
	return func(ctx context.Context, r events.APIGatewayProxyRequest) (events.APIGatewayProxyResponse, error) {
		call := call{r.HTTPMethod, r.Headers, r.MultiValueHeaders, r.Body, r.IsBase64Encoded}
		return events.APIGatewayProxyResponse{StatusCode: call.receive(ctx, v, handle)}, nil
	}
}

// LambdaV2 is for an HTTP API or a function URL (payload format 2.0), where headers are in lower case.
func LambdaV2(v *verifier.Verifier, handle receiver.HandlerFunc) func(context.Context, events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
	return func(ctx context.Context, r events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
		call := call{r.RequestContext.HTTP.Method, r.Headers, nil, r.Body, r.IsBase64Encoded}
		return events.APIGatewayV2HTTPResponse{StatusCode: call.receive(ctx, v, handle)}, nil
	}
}

// LambdaALB is for a function behind an Application Load Balancer, which sends headers with all their values if its target group says so.
func LambdaALB(v *verifier.Verifier, handle receiver.HandlerFunc) func(context.Context, events.ALBTargetGroupRequest) (events.ALBTargetGroupResponse, error) {
	return func(ctx context.Context, r events.ALBTargetGroupRequest) (events.ALBTargetGroupResponse, error) {
		call := call{r.HTTPMethod, r.Headers, r.MultiValueHeaders, r.Body, r.IsBase64Encoded}
		return events.ALBTargetGroupResponse{StatusCode: call.receive(ctx, v, handle)}, nil
	}
}

// A call is what AWS hands over, in whatever way.
type call struct {
	method   string
	headers  map[string]string
	all      map[string][]string
	body     string
	isBase64 bool
}

func (c call) receive(ctx context.Context, v *verifier.Verifier, handle receiver.HandlerFunc) int {
	if c.method != http.MethodPost {
		return http.StatusMethodNotAllowed
	}
	body := []byte(c.body)
	if c.isBase64 {
		var err error
		if body, err = base64.StdEncoding.DecodeString(c.body); err != nil {
			return http.StatusBadRequest
		}
	}
	header := http.Header{}
	for name, value := range c.headers {
		header.Set(name, value) // in whatever case it came
	}
	for name, values := range c.all {
		if len(values) > 0 {
			header.Set(name, values[0])
		}
	}
	delivery, err := v.DeliveryFrom(ctx, header.Get, body)
	if err != nil {
		return verifier.StatusCode(err)
	}
	ctx = receiver.WithKey(ctx, delivery.Key()) // what the adapters know an event by; receiver.NewHandler sets it by itself
	return verifier.StatusCode(handle(ctx, delivery.Event))
}
