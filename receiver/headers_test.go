package receiver_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/thewalletcrew/walletcrew-go/receiver"
)

func TestHeadersTravelInTheContext(t *testing.T) {
	t.Parallel()
	assert.Nil(t, receiver.Headers(context.Background()), "nothing was put in")

	outer := receiver.WithHeaders(context.Background(), map[string]string{"Traceparent": "00-a", "tracestate": "b"})
	inner := receiver.WithHeaders(outer, map[string]string{"TRACEPARENT": "00-c"})
	assert.Equal(t, map[string]string{"traceparent": "00-c", "tracestate": "b"}, receiver.Headers(inner))
	assert.Equal(t, map[string]string{"traceparent": "00-a", "tracestate": "b"}, receiver.Headers(outer), "the outer context's stay")
}

func TestHeadersThatNotEveryCarrierTakesAreLeftOut(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		"": "v", "a b": "v", "a:b": "v", "ä": "v", "a\r\n": "v", strings.Repeat("a", 65): "v",
		"line": "a\r\nNats-Msg-Id: x", "null": "a\x00", "umlaut": "ä", "long": strings.Repeat("a", 4097),
	} {
		ctx := receiver.WithHeaders(context.Background(), map[string]string{name: value, "good": "v"})
		assert.Equal(t, map[string]string{"good": "v"}, receiver.Headers(ctx), "%q: %.20q", name, value)
	}

	many := make(map[string]string)
	for i := range 100 {
		many[fmt.Sprint("h", i)] = "v"
	}
	ctx := receiver.WithHeaders(context.Background(), many)
	assert.Len(t, receiver.Headers(ctx), 16)
	for name := range receiver.Headers(ctx) {
		assert.Equal(t, "w", receiver.Headers(receiver.WithHeaders(ctx, map[string]string{name: "w"}))[name], "one that is there can be replaced")
	}
}
