package walletcrew

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

const (
	maintainEvery    = time.Hour       // between a look that succeeded and the next
	maintainAgain    = time.Second     // after the first that failed, doubled after each
	maintainMostWait = 5 * time.Minute // that this grows to
	maintainLimit    = 5 * time.Minute // of one look
)

// Maintain keeps the webhook as spec says until ctx ends: it calls [WebhooksService.Ensure] at once, and then again and again. It blocks,
// so a service calls it on a goroutine of its own, when it listens:
//
//	go client.Webhooks.Maintain(ctx, spec, nil)
//
// After an Ensure that failed it waits 1 second, then 2, and so on up to 5 minutes. After one that succeeded it waits an hour. Each
// wait is longer by a random part, up to half of it, so that replicas don't ask together. If the API asked for a longer wait with
// Retry-After, Maintain keeps to it, up to an hour. One Ensure has 5 minutes.
//
// So a webhook that somebody deletes comes back, with another id and another secret; verifier.FromAPI finds that secret by itself. A change
// that somebody makes is undone, unless spec leaves that member open. A webhook that was switched off stays off, unless spec.Enabled is
// new(true). To stop deliveries on purpose, switch the webhook off and leave spec.Enabled nil; don't delete it.
//
// Report is called after each Ensure, on the goroutine of Maintain, with what Ensure returned: exactly one of the two is nil. An
// Ensure that fails because ctx has ended isn't reported. Maintain goes on after every error: a key without a scope (ErrForbidden) and
// a platform that is away can both be mended while the service runs. Only a spec that is a [ValidationError], or a nil ctx, ends it at
// once, after one report. A panic of report isn't recovered: it ends the process and prints the stack, as on any goroutine.
//
// If report is nil, the client's logger gets the same: failures at warn level, changes at info level, "unchanged" at debug level.
func (s *WebhooksService) Maintain(ctx context.Context, spec WebhookSpec, report func(*EnsureResult, error)) {
	if report == nil {
		report = s.logMaintained
	}
	err := spec.check()
	if err == nil && ctx == nil {
		err = &ValidationError{Field: "ctx", Reason: "is nil"}
	}
	if err != nil {
		report(nil, err)
		return
	}
	spec.Events = slices.Clone(spec.Events) // the caller's own may change meanwhile
	if spec.Enabled != nil {
		spec.Enabled = new(*spec.Enabled)
	}
	for again := maintainAgain; ; {
		result, err := s.ensureWithin(ctx, spec)
		if err != nil && ctx.Err() != nil {
			return
		}
		report(result, err)
		wait := maintainEvery
		if err != nil {
			wait, again = again, min(2*again, maintainMostWait)
			if api, ok := errors.AsType[*APIError](err); ok {
				wait = max(wait, min(api.RetryAfter, maintainEvery))
			}
		} else {
			again = maintainAgain
		}
		next := time.NewTimer(wait + rand.N(wait/2)) //nolint:gosec // jitter is no secret
		select {
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			return
		}
	}
}

func (s *WebhooksService) ensureWithin(ctx context.Context, spec WebhookSpec) (*EnsureResult, error) {
	ctx, cancel := context.WithTimeout(ctx, maintainLimit)
	defer cancel()
	return s.Ensure(ctx, spec)
}

// logMaintained leaves out the warnings, which Ensure has logged.
func (s *WebhooksService) logMaintained(result *EnsureResult, err error) {
	ctx, log := context.Background(), s.client.logger()
	if err != nil {
		log.LogAttrs(ctx, slog.LevelWarn, "walletcrew: the webhook can't be looked after now; it will be tried again", slog.Any("error", err))
		return
	}
	level := slog.LevelInfo
	attrs := []slog.Attr{slog.String("id", s.quotable(result.Webhook.ID)), slog.String("action", string(result.Action)), slog.Bool("enabled", result.Webhook.Enabled)}
	if len(result.Duplicates) > 0 {
		attrs = append(attrs, slog.String("duplicates", s.quotable(strings.Join(result.Duplicates, ", "))))
	}
	switch result.Action {
	case EnsureUnchanged:
		level = slog.LevelDebug
	case EnsureCreated:
		attrs = append(attrs, slog.String("hint", "its secret is new: verifier.FromAPI finds it; a receiver with verifier.Static answers 401 until it has it"))
	}
	log.LogAttrs(ctx, level, "walletcrew: webhook", attrs...)
}
