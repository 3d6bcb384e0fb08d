package verifier_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/internal/sample"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// How much is allocated for a delivery; how long it takes is for benchmarks/. TestVerifyAllocatesNothingOfItsOwn is in verifier_test.go.
// None is parallel: AllocsPerRun counts what others allocate.

func TestVerifyAllocatesLittleMoreThanTheSecretFunc(t *testing.T) {
	if raceDetector {
		t.Skip("allocations say nothing while the race detector is on")
	}
	lookUp := func(_ context.Context, tenantID string) ([]walletcrew.Secret, error) {
		return []walletcrew.Secret{knownSecret, walletcrew.Secret(strings.Repeat(tenantID, 10))}, nil
	}
	alone := testing.AllocsPerRun(200, func() { lookedUp, _ = lookUp(context.Background(), "acme") })
	require.InDelta(t, 2.0, alone, 0, "the slice and the string")
	v := verifierOf(t, verifier.SecretFunc(lookUp))
	for _, size := range []int{512, 2 << 10, 64 << 10} {
		body := paddedBody(size)
		signature := walletcrew.Sign(knownSecret, body)
		var err error
		allocs := testing.AllocsPerRun(50, func() { err = v.Verify(context.Background(), "acme", body, signature) })
		require.NoError(t, err)
		assert.LessOrEqual(t, allocs, alone+7, "%d bytes: only the user's function allocates, and crypto/hmac for its secret", size)
	}
}

var installedBody = []byte(sample.Installed)

var lookedUp []walletcrew.Secret // where the compiler can't tell what becomes of them

func TestEventFromAllocatesLittle(t *testing.T) {
	if raceDetector {
		t.Skip("allocations say nothing while the race detector is on")
	}
	v := verifierOf(t, verifier.Static(knownSecret))
	header := signedHeaders(installedBody).get
	var e *walletcrew.Event
	var err error
	allocs := testing.AllocsPerRun(200, func() { e, err = v.EventFrom(context.Background(), header, installedBody) })
	require.NoError(t, err)
	require.IsType(t, &walletcrew.PassInstalled{}, e.Data)
	assert.LessOrEqual(t, allocs, 16.0, "the event, its payload, and one copy of the body for all its strings: not one for each member")
}
