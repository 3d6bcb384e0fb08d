package walletcrew_test

import (
	"context"
	"testing"
)

func TestNoPathLeavesTheTenant(t *testing.T) {
	t.Parallel()
	for _, path := range []string{
		"", "?a=b", "#x", "x#y", "x#", "/x", "//h/x", "///", "https://h/x", "HTTPS://h/x", "http:/x", "file:///x", "%zz", "x%", "x\x00", "x\ny",
		".", "..", "./x", "../x", "../../x", "a/..", "a/.", "a/./b", "a/../x", "a/../../x", "a/b/../../../x", "..?a=b", "a/..?b",
		"%2e%2e/x", "%2E%2e/x", ".%2e/x", "%2e./x", "%2e/x", "%252e%252e/x", "%25252e%25252e/x", "%25%32%65%252e/x",
		"..%2fx", "..%2Fx", "a%2f..%2f..%2fx", "a%252f..%252fx", "a%2f%2e%2e%2fx", "%2f..%2fx", "a/%2e%2e",
		`..\x`, `a\..\x`, `a\..\..\x`, "a%5c..%5cx", "a%5C..%5C..%5Cx", "a%255c..%255cx", `\..\x`,
		"%252e%252e/%25zz", "%252e%252e/100%25", // what can't be unescaped twice doesn't hide the rest
		"..;/x", "..;a=b/x", "a/..;/..;/x", "%2e%2e;/x", "..%3b/x", "..%3Ba/x",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			p, client := newMockedPlatform(t)
			for _, method := range []string{"GET", "POST", "DELETE"} {
				requireRefused(t, client.Do(context.Background(), method, path, nil, nil), "path", p)
			}
		})
	}
}
