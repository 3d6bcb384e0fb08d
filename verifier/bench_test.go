package verifier_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

func BenchmarkEventFrom(b *testing.B) {
	v, err := verifier.New(verifier.Static(knownSecret))
	require.NoError(b, err)
	header := signedHeaders(installedBody).get
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.EventFrom(context.Background(), header, installedBody); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	v, err := verifier.New(verifier.Static(knownSecret))
	require.NoError(b, err)
	body := paddedBody(512)
	signature := walletcrew.Sign(knownSecret, body)
	b.ReportAllocs()
	for b.Loop() {
		if err := v.Verify(context.Background(), "acme", body, signature); err != nil {
			b.Fatal(err)
		}
	}
}
