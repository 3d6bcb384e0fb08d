package endpoint_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/thewalletcrew/walletcrew-go/internal/endpoint"
)

// Each row is one endpoint in spellings that a server may give it back in.
func TestSpellingsOfOneEndpointAreTheSame(t *testing.T) {
	t.Parallel()
	for name, spellings := range map[string][]string{
		"scheme and host in capitals":  {"https://shop.example/hook", "HTTPS://Shop.EXAMPLE/hook"},
		"the default port":             {"https://shop.example/hook", "https://shop.example:443/hook", "https://shop.example:/hook", "https://shop.example:0443/hook"},
		"the default port of http":     {"http://127.0.0.1/", "http://127.0.0.1:80"},
		"another port":                 {"https://shop.example:8443/hook", "https://SHOP.example:08443/hook"},
		"no path":                      {"https://shop.example", "https://shop.example/", "https://shop.example:443"},
		"no path, but a query":         {"https://shop.example?a=b", "https://shop.example/?a=b"},
		"an empty query":               {"https://shop.example/hook", "https://shop.example/hook?"},
		"the case of escapes":          {"https://shop.example/a%2fb%c3%a9", "https://shop.example/a%2Fb%C3%A9", "https://shop.example/a%2Fbé"},
		"unreserved ones escaped":      {"https://shop.example/~user/a-b_c.d", "https://shop.example/%7Euser/%61%2Db%5fc%2Ed"},
		"a space":                      {"https://shop.example/a%20b", "https://shop.example/a b"},
		"what must be escaped":         {"https://shop.example/%7Ba%7D%7C%22%3C%3E%5E%60", "https://shop.example/{a}|\"<>^`"},
		"reserved ones beside them":    {"https://shop.example/a:b@c,d;e=f!g'(h)*é", "https://shop.example/a:b@c,d;e=f!g'(h)*%C3%A9"},
		"an escaped one beside é":      {"https://shop.example/a%2Fb/é", "https://shop.example/a%2fb/%c3%a9"},
		"dot segments":                 {"https://shop.example/a/c", "https://shop.example/a/./b/../c", "https://shop.example/../a/c", "https://shop.example/a/b/%2e%2E/c"},
		"a dot segment at the end":     {"https://shop.example/a/", "https://shop.example/a/.", "https://shop.example/a/b/.."},
		"nothing but dot segments":     {"https://shop.example/", "https://shop.example/..", "https://shop.example/./a/.."},
		"an international name":        {"https://bücher.example/hook", "https://xn--bcher-kva.example/hook", "https://BÜCHER.example/hook", "https://XN--BCHER-KVA.example:443/hook", "https://b%C3%BCcher.example/hook"},
		"an ideographic full stop":     {"https://例え.テスト/hook", "https://xn--r8jz45g.xn--zckzah/hook", "https://例え。テスト/hook"},
		"an IPv6 address":              {"https://[2001:db8::1]/hook", "https://[2001:DB8:0:0:0:0:0:1]:443/hook", "https://[2001:0db8::0001]/hook"},
		"query: the case of escapes":   {"https://shop.example/hook?a=%c3%a9", "https://shop.example/hook?a=%C3%A9", "https://shop.example/hook?a=é"},
		"query: unreserved ones":       {"https://shop.example/hook?a=%7e%62", "https://shop.example/hook?a=~b"},
		"query: a URL in it":           {"https://shop.example/hook?next=https://a.example/b?c", "https://shop.example/hook?next=https%3A%2F%2Fa.example%2Fb%3Fc"},
		"query: a space":               {"https://shop.example/hook?a=b+c", "https://shop.example/hook?a=b%20c", "https://shop.example/hook?a=b c"},
		"query: what must be escaped":  {"https://shop.example/hook?a[]={1}", "https://shop.example/hook?a%5B%5D=%7B1%7D"},
		"query: dots stay":             {"https://shop.example/hook?a=/../b", "https://shop.example/hook?a=%2F..%2Fb"},
		"query: a stray percent sign":  {"https://shop.example/hook?a=100%", "https://SHOP.example/hook?a=100%"},
		"what leads to no other place": {"https://shop.example/hook", "https://shop.example/hook#part", "https://user:word@shop.example/hook"},
		"what is no URL":               {":", ":"},
		"what has no host":             {"mailto:a@shop.example", "mailto:a@shop.example"},
	} {
		for _, a := range spellings {
			for _, b := range spellings {
				assert.True(t, endpoint.Same(a, b), "%s: %q and %q are one", name, a, b)
			}
			assert.Equal(t, endpoint.Normal(a), endpoint.Normal(endpoint.Normal(a)), "the normal form of %q is its own", a)
		}
	}
}

func TestOtherEndpointsAreNotTheSame(t *testing.T) {
	t.Parallel()
	const url = "https://shop.example/a/hook?a=b&c=d"
	for name, other := range map[string]string{
		"nothing":                   "",
		"no URL":                    ":",
		"a path alone":              "/a/hook?a=b&c=d",
		"another scheme":            "http://shop.example/a/hook?a=b&c=d",
		"another host":              "https://shop2.example/a/hook?a=b&c=d",
		"a host below":              "https://a.shop.example/a/hook?a=b&c=d",
		"a host that looks like it": "https://ѕhop.example/a/hook?a=b&c=d",
		"another port":              "https://shop.example:8443/a/hook?a=b&c=d",
		"http's default port":       "https://shop.example:80/a/hook?a=b&c=d",
		"the case of the path":      "https://shop.example/a/Hook?a=b&c=d",
		"a slash at the end":        "https://shop.example/a/hook/?a=b&c=d",
		"a double slash":            "https://shop.example//a/hook?a=b&c=d",
		"an escaped slash":          "https://shop.example/a%2Fhook?a=b&c=d",
		"a parent":                  "https://shop.example/a/../hook?a=b&c=d",
		"escaped twice":             "https://shop.example/a/%2568ook?a=b&c=d",
		"no query":                  "https://shop.example/a/hook",
		"the query's order":         "https://shop.example/a/hook?c=d&a=b",
		"the query's values":        "https://shop.example/a/hook?a=b&c=D",
		"a query within":            "https://shop.example/a/hook?a=b%26c=d",
		"an escaped equals sign":    "https://shop.example/a/hook?a%3Db&c=d",
		"an escaped question mark":  "https://shop.example/a/hook%3Fa=b&c=d",
		"a semicolon":               "https://shop.example/a/hook?a=b;c=d",
		"a value twice":             "https://shop.example/a/hook?a=b&a=b&c=d",
	} {
		assert.False(t, endpoint.Same(url, other), "%s: %q is another", name, other)
	}
	assert.False(t, endpoint.Same("https://shop.example/hook?a=b+c", "https://shop.example/hook?a=b%2Bc"), "a plus sign isn't a space")
	assert.False(t, endpoint.Same("https://shop.example/%zz", "https://SHOP.example/%zz"), "what can't be parsed is compared as it is")
	assert.False(t, endpoint.Same("https://bücher.example/", "https://bucher.example/"))
}
