package walletcrew

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/thewalletcrew/walletcrew-go/internal/endpoint"
)

// An EnsureResult is what [WebhooksService.Ensure] found or made.
type EnsureResult struct {
	Webhook *Webhook
	Action  EnsureAction
	// Duplicates are the ids of other webhooks on the same endpoint, in the platform's order. Each
	// of them gets its own delivery of an event. Ensure deletes a webhook only if it created it in
	// this call. If the list that follows a create fails, Duplicates is empty.
	Duplicates []string
	// Warnings are one line each. They name event names that are almost known ones, and events that
	// the platform keeps in another way than you asked for. The client also logs each, at warn
	// level. Nil if there are none.
	Warnings []string
}

// An EnsureAction says what [WebhooksService.Ensure] did.
type EnsureAction string

// The actions:
//
//   - Unchanged: the webhook already was as the spec says. Another replica may have made it a moment before.
//   - Created: this call made the webhook.
//   - Updated: the webhook existed, and this call changed it.
const (
	EnsureUnchanged EnsureAction = "unchanged"
	EnsureCreated   EnsureAction = "created"
	EnsureUpdated   EnsureAction = "updated"
)

// maxEnsureRounds bounds how often Ensure starts over because a webhook that it found was deleted meanwhile.
const maxEnsureRounds = 5

// Ensure makes sure that the tenant has a webhook for spec.Endpoint that is as spec says. Call it when your service starts. It looks for
// the endpoint in the list of webhooks. Then it creates the webhook, or changes the members that differ, or does nothing. A member that
// spec leaves empty stays as it is.
//
// The endpoint is the identity: for another endpoint, Ensure makes another webhook and leaves the old one. Endpoints are compared in their
// normal form (RFC 3986, 6.2.2), since the platform may give back another spelling. Events are compared by their meaning, see below.
//
// What Ensure guarantees:
//
//   - The webhook existed when Ensure returned it. No concurrent Ensure deletes it, as long as the platform lists webhooks in the order of
//     their creation.
//   - If the answer to a create was lost, Ensure looks for the webhook in the list instead of creating it again.
//   - Ensure deletes a webhook only if it created it in this call: its id certainly wasn't in the list before.
//   - If there are several webhooks for the endpoint, Ensure takes an enabled one. So it doesn't enable the successor of a
//     [WebhooksService.Rotate] that is in progress.
//
// What Ensure can't guarantee is that there is only one webhook, since the API has no idempotency key and no conditional write. Replicas
// that find no webhook at the same moment each create one. So each lists the webhooks again after its create: the first one in the list
// stays, and a replica whose webhook isn't the first deletes its own. If a replica dies between its create and its delete, or if its delete
// fails, a second webhook is left. Every event is then delivered twice, each signed with its own secret, until somebody deletes one.
// Duplicates names it, in this call or a later one.
//
// What Ensure does if the platform isn't as expected:
//
//   - It changes the endpoint to one that isn't known to be the same: an error that names both. Later calls with this client return it,
//     too, and create no other webhook. Use the platform's spelling in the spec, because a new process can't recognize the webhook as its
//     own.
//   - It answers the create with a webhook that existed before: an error. Ensure undoes the change that the create made to that webhook.
//   - It pages in another way than [WebhooksService.All] expects: Ensure uses the webhooks that it could read, and the client logs a
//     warning. If the webhook is on a page that can't be read, a new process makes a second one.
//   - It gives events back in another spelling or order, or one pattern for all the known events that it matches: nothing is changed.
//   - It gives back "pass.*" where you asked for several names of that category in another spelling: nothing is changed, and a warning
//     says that more events come than you asked for.
//   - It keeps other events in any other way: a warning names the missing events and those that are too many. The client doesn't repeat the
//     warning as long as the webhook stays so. A new process gives it once.
//
// So you can narrow a subscription from "Pass:*" to some names of that category. A change from "Pass:*" to all its known names is none.
func (s *WebhooksService) Ensure(ctx context.Context, spec WebhookSpec) (*EnsureResult, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	result, err := s.ensureRounds(ctx, &spec)
	warnings := slips(spec.Events) // also after an error, whose cause they may be
	if err == nil {
		result.Warnings = append(warnings, result.Warnings...)
		warnings = result.Warnings
	}
	for _, warning := range warnings {
		s.client.logger().LogAttrs(ctx, slog.LevelWarn, "walletcrew: ensure a webhook: "+warning, slog.String("endpoint", s.quotable(spec.Endpoint)))
	}
	return result, err
}

func (s *WebhooksService) ensureRounds(ctx context.Context, spec *WebhookSpec) (*EnsureResult, error) {
	var err error
	for range maxEnsureRounds {
		var result *EnsureResult
		if result, err = s.ensureOnce(ctx, spec); err == nil || !errors.Is(err, errGone) {
			return result, err
		}
	}
	return nil, &stepError{step: fmt.Sprintf("ensure a webhook: it was found and then not found, %d times (does something else delete it?)", maxEnsureRounds), err: err}
}

// errGone: a webhook that was found was deleted before this call was done with it.
var errGone = errors.New("the webhook is gone")

func (s *WebhooksService) ensureOnce(ctx context.Context, spec *WebhookSpec) (*EnsureResult, error) {
	before, err := s.inventory(ctx, spec.Endpoint)
	switch {
	case err != nil && (ctx.Err() != nil || !slices.ContainsFunc(before.on, isEnabled)): // what is in the rest of the list may be the one to take
		return nil, err
	case len(before.on) > 0:
		return s.adopt(ctx, spec, before.on)
	}
	own, err := s.recall(ctx, spec.Endpoint, before)
	switch {
	case err != nil:
		return nil, err
	case own != nil:
		return s.adopt(ctx, spec, []*Webhook{own})
	}
	created, createErr := s.Create(ctx, *spec)
	if createErr != nil && !errors.Is(createErr, ErrOutcomeUnknown) {
		return nil, createErr
	}
	if createErr == nil {
		if known := before.byID[created.ID]; known != nil {
			return nil, s.notCreated(ctx, "ensure a webhook", spec.Endpoint, known)
		}
		s.made.remember(spec.Endpoint, created)
		if !endpoint.Same(spec.Endpoint, created.Endpoint) {
			return nil, s.otherEndpoint(spec.Endpoint, created, true)
		}
	}
	after, _ := s.inventory(ctx, spec.Endpoint) // what was found counts
	if createErr != nil {
		if len(after.on) == 0 {
			return nil, createErr
		}
		// Ours, or another replica's: who can't tell doesn't delete.
		return s.adopt(ctx, spec, after.on)
	}
	return s.settle(ctx, spec, created, before, after.on)
}

// settle decides which webhook stays, after a create that may not have been the only one.
func (s *WebhooksService) settle(ctx context.Context, spec *WebhookSpec, created *Webhook, before *inventory, found []*Webhook) (*EnsureResult, error) {
	// One that is switched off, such as a rotation's successor, is no reason to delete one that isn't.
	first := slices.IndexFunc(found, func(w *Webhook) bool { return w.Enabled || !created.Enabled })
	own := slices.IndexFunc(found, func(w *Webhook) bool { return w.ID == created.ID })
	if first < 0 || own <= first || !before.whole {
		// The first is ours; or the list doesn't know ours (yet, or since it couldn't be had); or ours may not be ours, but one that was
		// there on a page that couldn't be read. To keep it is safe.
		result := &EnsureResult{Webhook: created, Action: EnsureCreated, Duplicates: idsWithout(found, created.ID)}
		result.Warnings = s.answered(spec, created)
		return result, nil
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

// madeWebhooks are what Ensure remembers for the life of the client, by the normal form of the endpoint that was asked for.
type madeWebhooks struct {
	mu    sync.Mutex
	by    map[string]*Webhook // that it has created: id and endpoint, as the platform gave them back
	other map[string]otherEvents
}

func (m *madeWebhooks) remember(url string, w *Webhook) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.by == nil {
		m.by = map[string]*Webhook{}
	}
	m.by[endpoint.Normal(url)] = &Webhook{ID: w.ID, Endpoint: w.Endpoint}
}

func (m *madeWebhooks) recall(url string) *Webhook {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.by[endpoint.Normal(url)]
}

// recall returns the webhook that an earlier call made for this endpoint, though the list doesn't show it there: the platform has
// changed its endpoint, or the list can't be read to its end. Nil if there is none, or none any more.
func (s *WebhooksService) recall(ctx context.Context, url string, inv *inventory) (*Webhook, error) {
	made := s.made.recall(url)
	if made == nil {
		return nil, nil
	}
	w := inv.byID[made.ID]
	if w == nil {
		var err error
		if w, err = s.Get(ctx, made.ID); errors.Is(err, ErrNotFound) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
	}
	switch {
	case endpoint.Same(url, w.Endpoint):
		return w, nil
	case endpoint.Same(made.Endpoint, w.Endpoint):
		return nil, s.otherEndpoint(url, w, false)
	}
	return nil, nil // somebody gave it another endpoint since
}

// otherEndpoint says that a webhook doesn't have the endpoint that was asked for. Now: this call has created it.
func (s *WebhooksService) otherEndpoint(asked string, w *Webhook, now bool) error {
	return &stepError{"ensure a webhook", fmt.Errorf(
		"the endpoint asked for was %q, and the platform made the webhook %s with the endpoint %q: ask for that spelling if it is the same place, or delete the webhook",
		s.quotable(asked), s.quotable(w.ID), s.quotable(w.Endpoint)), now}
}

// quotable makes what came from elsewhere fit for an error.
func (s *WebhooksService) quotable(text string) string { return oneLine(s.client.key.hide(text), 200) }

// notCreated says that a create was answered with a webhook that was there before, and puts back what it has changed.
func (s *WebhooksService) notCreated(ctx context.Context, step, asked string, before *Webhook) error {
	text := fmt.Sprintf("the platform created nothing: it answered with the webhook %s, which was there before with the endpoint %q, to the create of one with %q",
		s.quotable(before.ID), s.quotable(before.Endpoint), s.quotable(asked))
	did, err := s.putBack(ctx, before)
	if err != nil {
		return &stepError{step + ": " + text + ", and may have changed it: look whether it is as it was", err, true}
	}
	return &stepError{step: step, err: errors.New(text + "; " + did)}
}

// putBack gives a webhook what it had before, and says what that was.
func (s *WebhooksService) putBack(ctx context.Context, before *Webhook) (string, error) {
	now, err := s.Get(ctx, before.ID)
	if err != nil {
		return "", err
	}
	var patch WebhookPatch
	var changed []string
	if now.Endpoint != before.Endpoint {
		patch.Endpoint, changed = &before.Endpoint, append(changed, "endpoint")
	}
	if !sameEvents(now.Events, before.Events) {
		patch.Events, changed = before.Events, append(changed, "events")
	}
	if now.Description != before.Description {
		patch.Description, changed = &before.Description, append(changed, "description")
	}
	if now.Enabled != before.Enabled {
		patch.Enabled, changed = &before.Enabled, append(changed, "enabled")
	}
	did := "it is as it was"
	if len(changed) > 0 {
		did = "what that changed was put back (" + strings.Join(changed, ", ") + ")"
		if now, err = s.patch(ctx, before.ID, patch); err == nil && !patch.holds(now) {
			err = errNotPutBack
		}
		if err != nil {
			return "", err
		}
	}
	if now.SignatureSecret != before.SignatureSecret {
		did += ", but it has another secret now: give it to the receivers"
	}
	return did, nil
}

var errNotPutBack = errors.New("the platform took the patch that puts it back, but the webhook isn't as it was")

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
	if !sameSubscription(spec.Events, w.Events) && !collapsed(spec.Events, w.Events) && !s.made.told(spec, w) {
		patch.Events = spec.Events
	}
	if spec.Description != "" && spec.Description != w.Description {
		patch.Description = &spec.Description
	}
	if spec.Enabled != nil && *spec.Enabled != w.Enabled {
		patch.Enabled = spec.Enabled
	}
	result := &EnsureResult{Webhook: w, Action: EnsureUnchanged, Duplicates: duplicates}
	if patch.check() != nil {
		result.Warnings = s.otherEvents(spec, w)
		return result, nil
	}
	patched, err := s.Patch(ctx, w.ID, patch)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, fmt.Errorf("%w: %w", errGone, err)
	case err != nil:
		return nil, err
	}
	onlyEvents := patch.Description == nil && patch.Enabled == nil
	if !onlyEvents || !sameNames(patched.Events, w.Events) {
		result.Action = EnsureUpdated
	}
	result.Webhook = patched
	if patch.Events != nil {
		result.Warnings = s.answered(spec, patched)
	} else {
		result.Warnings = s.otherEvents(spec, patched)
	}
	return result, nil
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
