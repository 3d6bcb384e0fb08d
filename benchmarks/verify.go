package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/google/go-github/v88/github"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stripe/stripe-go/v85/webhook"
	svix "github.com/svix/svix-webhooks/go"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

const (
	//nolint:gosec // made up
	secret = "k7Qx2mVb9LpZr4TnYw8HcJd6Fg1Ae3Us5Ri0Ko7Bv2Nx9Mq4Zt6Py8Wl1Dh3Cj5E"
	tenant = "shop"
)

const (
	bareSHA  = "bare SHA-256"
	goGithub = "go-github ValidateSignature"
)

var digest [sha256.Size]byte // where sums go, so that none is optimized away

// verifySubjects verify a body of the size: bare cryptography, the SDK, and other libraries, each in its own scheme.
func verifySubjects(size int, atMostSHA, atMostGithub float64) func() []subject {
	return func() []subject {
		body := bytes.Repeat([]byte("0123456789abcdef"), size/16)
		static := []goal{timeOf(bareSHA, atMostSHA), timeOf(goGithub, atMostGithub), allocations(0)}
		ofFunc := []goal{timeOf(bareSHA, none), timeOf(goGithub, none), allocations(7)} // of hmac.New
		subjects := []subject{
			{name: bareSHA, run: each(func() { digest = sha256.Sum256(body) })},
			{name: "HMAC, key prepared", run: each(preparedHMAC(body))},
			{name: "HMAC, hmac.New each time", run: each(freshHMAC(body))},
			{name: "Verifier.Verify, Static", run: each(verify(verifier.Static(secret), body)), goals: static},
			{name: "Verifier.Verify, SecretFunc", run: each(verify(oneSecret(), body)), goals: ofFunc},
		}
		return append(subjects, peers(body)...)
	}
}

func preparedHMAC(body []byte) func() {
	h := hmac.New(sha256.New, []byte(secret))
	return func() {
		h.Reset()
		h.Write(body)
		h.Sum(digest[:0])
	}
}

func freshHMAC(body []byte) func() {
	return func() {
		h := hmac.New(sha256.New, []byte(secret))
		h.Write(body)
		h.Sum(digest[:0])
	}
}

func oneSecret() verifier.SecretFunc {
	secrets := []walletcrew.Secret{secret}
	return func(context.Context, string) ([]walletcrew.Secret, error) { return secrets, nil }
}

func verify(source verifier.SecretSource, body []byte) func() {
	v := newVerifier(source)
	ctx, signature := context.Background(), walletcrew.Sign(secret, body)
	return func() { must(v.Verify(ctx, tenant, body, signature)) }
}

func newVerifier(source verifier.SecretSource) *verifier.Verifier {
	v, err := verifier.New(source)
	must(err)
	return v
}

// peers verify the same body, each with a signature of its own scheme. Those that sign a time too take it for five minutes:
// longer than a group is measured.
func peers(body []byte) []subject {
	now := time.Now()

	githubSecret, githubSignature := []byte(secret), "sha256="+hex.EncodeToString(sum(secret, body))
	stripeHeader := webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: body, Secret: secret, Timestamp: now}).Header

	standard, err := standardwebhooks.NewWebhookRaw([]byte(secret))
	must(err)
	svixer, err := svix.NewWebhookRaw([]byte(secret))
	must(err)
	header := http.Header{}
	timestamp := strconv.FormatInt(now.Unix(), 10)
	signed := sum(secret, []byte("msg_1."+timestamp+"."), body)
	for _, prefix := range []string{"webhook", "svix"} {
		header.Set(prefix+"-id", "msg_1")
		header.Set(prefix+"-timestamp", timestamp)
		header.Set(prefix+"-signature", "v1,"+base64.StdEncoding.EncodeToString(signed))
	}

	return []subject{
		{name: goGithub, run: each(func() { must(github.ValidateSignature(githubSignature, body, githubSecret)) })},
		{name: "stripe-go ValidatePayload", run: each(func() { must(webhook.ValidatePayload(body, stripeHeader, secret)) })},
		{name: "standard-webhooks Verify", run: each(func() { must(standard.Verify(body, header)) })},
		{name: "svix Verify", run: each(func() { must(svixer.Verify(body, header)) })},
	}
}

func sum(secret string, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	for _, part := range parts {
		h.Write(part)
	}
	return h.Sum(nil)
}

// scalingSubjects show what a second goroutine adds. That of the bare hash is what the machine gives.
func scalingSubjects() []subject {
	body := bytes.Repeat([]byte("0123456789abcdef"), 128)
	hash := each(func() { sha256.Sum256(body) })
	verified := each(verify(verifier.Static(secret), body))
	return []subject{
		{name: "bare SHA-256, 1 goroutine", run: hash},
		{name: "bare SHA-256, 2 goroutines", run: inTwo(hash), goals: []goal{rateOf("bare SHA-256, 1 goroutine", none)}},
		{name: "Verify, 1 goroutine", run: verified},
		{name: "Verify, 2 goroutines", run: inTwo(verified), goals: []goal{rateOf("Verify, 1 goroutine", 1.90)}},
	}
}

func inTwo(run func(int)) func(int) {
	return func(n int) {
		var both sync.WaitGroup
		both.Go(func() { run(n / 2) })
		both.Go(func() { run(n - n/2) })
		both.Wait()
	}
}
