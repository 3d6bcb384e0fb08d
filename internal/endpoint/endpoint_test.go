package endpoint_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/thewalletcrew/walletcrew-go/internal/endpoint"
)

func TestSame(t *testing.T) {
	t.Parallel()
	const url = "https://shop.example/hook?a=b"
	for _, same := range []string{url, "https://SHOP.example/hook?a=b", "https://shop.example:443/hook?a=b"} {
		assert.True(t, endpoint.Same(url, same), same)
	}
	for _, other := range []string{"", "https://shop.example/hook", "https://shop.example/hook?a=c", "http://shop.example/hook?a=b", "https://shop.example:8443/hook?a=b", "https://shop.example/Hook?a=b", "https://shop.example/hook/?a=b", ":"} {
		assert.False(t, endpoint.Same(url, other), other)
	}
	assert.True(t, endpoint.Same("https://shop.example", "https://shop.example/"))
	assert.True(t, endpoint.Same("http://127.0.0.1:80/", "http://127.0.0.1"))
	assert.True(t, endpoint.Same(":", ":"), "what isn't a URL is compared as it is")
}
