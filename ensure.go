package walletcrew

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/thewalletcrew/walletcrew-go/internal/endpoint"
)

// An EnsureResult is what [WebhooksService.Ensure] found or made.
type EnsureResult struct {
	Webhook *Webhook
	Action  EnsureAction
	// Duplicates are the ids of further webhooks on the same endpoint, in the platform's order;
	// each gets its own delivery of an event. Ensure deletes none that it did not create in this
	// call. They are those of the last list that could be had: after a create, a list that fails
	// leaves them empty.
	Duplicates []string
}

// EnsureAction says what [WebhooksService.Ensure] did about the webhook that it returns.
type EnsureAction string

// What Ensure can do. Created: this call made the webhook. Updated: it was there, and this call changed it. Unchanged: it was
// there as it should be, perhaps since another replica made it a moment before.
const (
	EnsureUnchanged EnsureAction = "unchanged"
	EnsureCreated   EnsureAction = "created"
	EnsureUpdated   EnsureAction = "updated"
)

// ensureRounds bounds how often Ensure starts over because a webhook that it found was deleted meanwhile.
const ensureRounds = 5

// Ensure makes the tenant hold one webhook for spec.Endpoint that looks like spec: what a service calls when it starts. It
// looks for the endpoint in the list, and creates a webhook, changes what differs, or does nothing. The order and repetition of
// events don't matter, and what the spec leaves empty stays as it is. The endpoint is the identity: with another one, Ensure
// makes another webhook and leaves the old.
//
// What it guarantees: the webhook it returns existed when it returned, and is never one that another concurrent Ensure deletes,
// as long as the platform lists webhooks in the order of their creation. A create whose answer was lost is looked for in the
// list instead of being repeated. It never deletes a webhook that it didn't create in this call. Where there are several, it
// takes an enabled one, so that it doesn't wake the successor that a [WebhooksService.Rotate] in progress has made.
//
// What it can't: the API has no idempotency key and no conditional write. Replicas that find nothing at the same moment each
// create one. So each lists again after its create: the first in the list stays, and a call deletes its own if that isn't the
// first. A replica that dies between its create and its delete, or whose delete fails, leaves a second webhook; it then stands
// in Duplicates, of this call or of a later one, and every event is delivered twice (each signed with its own secret) until
// someone deletes it.
func (s *WebhooksService) Ensure(ctx context.Context, spec WebhookSpec) (*EnsureResult, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	var err error
	for range ensureRounds {
		var result *EnsureResult
		if result, err = s.ensureOnce(ctx, &spec); err == nil || !errors.Is(err, errGone) {
			return result, err
		}
	}
	return nil, &stepError{step: fmt.Sprintf("ensure a webhook: it was deleted %d times while being looked at (does something else delete it?)", ensureRounds), err: err}
}

// errGone: a webhook that was found was deleted before this call was done with it.
var errGone = errors.New("the webhook is gone")

func (s *WebhooksService) ensureOnce(ctx context.Context, spec *WebhookSpec) (*EnsureResult, error) {
	found, err := s.onEndpoint(ctx, spec.Endpoint)
	switch {
	case err != nil && !slices.ContainsFunc(found, isEnabled): // what is in the rest of the list may be the one to take
		return nil, err
	case len(found) > 0:
		return s.adopt(ctx, spec, found)
	}
	created, createErr := s.Create(ctx, *spec)
	if createErr != nil && !errors.Is(createErr, ErrOutcomeUnknown) {
		return nil, createErr
	}
	found, _ = s.onEndpoint(ctx, spec.Endpoint) // what was found counts
	if createErr != nil {
		if len(found) == 0 {
			return nil, createErr
		}
		// Ours, or another replica's: who can't tell doesn't delete.
		return s.adopt(ctx, spec, found)
	}
	return s.settle(ctx, spec, created, found)
}

// settle decides which webhook stays, after a create that may not have been the only one.
func (s *WebhooksService) settle(ctx context.Context, spec *WebhookSpec, created *Webhook, found []*Webhook) (*EnsureResult, error) {
	// One that is switched off, such as a rotation's successor, is no reason to delete one that isn't.
	first := slices.IndexFunc(found, func(w *Webhook) bool { return w.Enabled || !created.Enabled })
	own := slices.IndexFunc(found, func(w *Webhook) bool { return w.ID == created.ID })
	if first < 0 || own <= first {
		// The first is ours, or the list doesn't know ours (yet, or since it couldn't be had): to keep it is safe.
		return &EnsureResult{Webhook: created, Action: EnsureCreated, Duplicates: idsWithout(found, created.ID)}, nil
	}
	deleteErr := s.Delete(ctx, created.ID)
	if deleteErr == nil || errors.Is(deleteErr, ErrNotFound) {
		found = slices.Delete(found, own, own+1)
	}
	keep, err := s.Get(ctx, found[first].ID)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, fmt.Errorf("%w: %w", errGone, err)
	case err != nil:
		return nil, err
	}
	found[first] = keep
	return s.align(ctx, spec, keep, idsWithout(found, keep.ID))
}

// adopt takes one of the webhooks that are there.
func (s *WebhooksService) adopt(ctx context.Context, spec *WebhookSpec, found []*Webhook) (*EnsureResult, error) {
	w := found[0]
	if i := slices.IndexFunc(found, isEnabled); i >= 0 {
		w = found[i]
	}
	return s.align(ctx, spec, w, idsWithout(found, w.ID))
}

func isEnabled(w *Webhook) bool { return w.Enabled }

// align changes what differs from the spec.
func (s *WebhooksService) align(ctx context.Context, spec *WebhookSpec, w *Webhook, duplicates []string) (*EnsureResult, error) {
	var patch WebhookPatch
	if !sameEvents(spec.Events, w.Events) {
		patch.Events = spec.Events
	}
	if spec.Description != "" && spec.Description != w.Description {
		patch.Description = &spec.Description
	}
	if spec.Enabled != nil && *spec.Enabled != w.Enabled {
		patch.Enabled = spec.Enabled
	}
	if patch.check() != nil {
		return &EnsureResult{Webhook: w, Action: EnsureUnchanged, Duplicates: duplicates}, nil
	}
	patched, err := s.Patch(ctx, w.ID, patch)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, fmt.Errorf("%w: %w", errGone, err)
	case err != nil:
		return nil, err
	}
	return &EnsureResult{Webhook: patched, Action: EnsureUpdated, Duplicates: duplicates}, nil
}

// onEndpoint returns the webhooks for the endpoint, in the list's order; with an error, those found before it.
func (s *WebhooksService) onEndpoint(ctx context.Context, url string) ([]*Webhook, error) {
	var found []*Webhook
	for w, err := range s.All(ctx, nil) {
		if err != nil {
			return found, err
		}
		if endpoint.Same(w.Endpoint, url) && !slices.ContainsFunc(found, func(f *Webhook) bool { return f.ID == w.ID }) {
			found = append(found, w)
		}
	}
	return found, nil
}

func idsWithout(webhooks []*Webhook, id string) []string {
	var ids []string
	for _, w := range webhooks {
		if w.ID != id {
			ids = append(ids, w.ID)
		}
	}
	return ids
}

func sameEvents(a, b []EventName) bool {
	return slices.Equal(slices.Compact(slices.Sorted(slices.Values(a))), slices.Compact(slices.Sorted(slices.Values(b))))
}
