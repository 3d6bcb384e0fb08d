package walletcrew

import (
	"context"
	"errors"
	"fmt"

	"github.com/thewalletcrew/walletcrew-go/internal/endpoint"
)

// A Rotation is the replacement of a webhook's secret; see [WebhooksService.Rotate].
type Rotation struct {
	// Old and New are the predecessor and the successor as they were when Rotate returned.
	Old, New *Webhook

	service *WebhooksService
}

// Rotate replaces a webhook's secret without losing a delivery. The API can't change a secret, so Rotate creates a successor with the same
// endpoint, events and description. The successor is disabled, so that nothing is signed with a secret that the receivers don't have yet.
// Give the receivers [Rotation.Secrets], then call [Rotation.Finish].
//
// If the process dies after Rotate, the predecessor goes on, and there is a disabled webhook on the same endpoint. That does no harm:
// [WebhooksService.Ensure] keeps to the enabled one and names the other in Duplicates, and a receiver with verifier.FromAPI knows both
// secrets. To finish the rotation, call [WebhooksService.FinishRotation] with the two ids. To give it up, delete the disabled webhook.
// Another Rotate makes another successor.
//
// It isn't documented that two webhooks may have the same endpoint. So Rotate lists the webhooks first. The successor must be a webhook
// that didn't exist before, with the predecessor's endpoint and another secret.
//
//   - If the platform answers with a webhook that existed before, Rotate undoes the change that the create made to it, and returns an
//     error.
//   - If the create disabled the predecessor, Rotate enables it again.
//   - If the platform enabled the successor at once, Rotate deletes it. It deletes nothing else.
//
// After an error that is [ErrOutcomeUnknown], there may be a disabled successor, too.
func (s *WebhooksService) Rotate(ctx context.Context, id string) (*Rotation, error) {
	predecessor, err := s.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	before, err := s.inventory(ctx, predecessor.Endpoint)
	switch {
	case err != nil:
		return nil, &stepError{step: "rotate: list the webhooks first", err: err}
	case before.whole && before.byID[predecessor.ID] == nil:
		return nil, &stepError{step: "rotate", err: fmt.Errorf("the list of webhooks lacks %s, which is there: try again, and if it stays so, look what answers in the API's place", s.quotable(predecessor.ID))}
	}
	before.byID[predecessor.ID] = predecessor // it may stand on a page that couldn't be read

	successor, createErr := s.create(ctx, WebhookSpec{
		Endpoint:    predecessor.Endpoint,
		Events:      predecessor.Events,
		Description: predecessor.Description,
		Enabled:     new(false),
	})
	if createErr != nil && !errors.Is(createErr, ErrOutcomeUnknown) {
		return nil, createErr
	}
	if createErr == nil && before.byID[successor.ID] != nil {
		createErr = s.notCreated(ctx, "rotate", predecessor.Endpoint, before.byID[successor.ID])
		if successor.ID == predecessor.ID {
			return nil, createErr
		}
		successor = nil
	}
	keepErr := s.keepUp(ctx, predecessor, successor)
	switch {
	case createErr != nil && keepErr != nil:
		return nil, &stepError{plain(createErr) + "; and", keepErr, true}
	case createErr != nil:
		return nil, createErr
	case keepErr != nil:
		return nil, keepErr
	}
	if err := s.checkSuccessor(ctx, predecessor, successor, before); err != nil {
		return nil, &stepError{step: "rotate", err: err}
	}
	return &Rotation{Old: predecessor, New: successor, service: s}, nil
}

// keepUp makes sure that the create of a successor, nil if there is none, left the predecessor at work.
func (s *WebhooksService) keepUp(ctx context.Context, predecessor, successor *Webhook) error {
	now, err := s.Get(ctx, predecessor.ID)
	switch {
	case errors.Is(err, ErrNotFound) && successor != nil:
		return s.replaced(ctx, predecessor, successor)
	case err == nil && now.Enabled != predecessor.Enabled:
		now, err = s.Patch(ctx, predecessor.ID, WebhookPatch{Enabled: &predecessor.Enabled})
		if err == nil && now.Enabled != predecessor.Enabled {
			err = errNotPutBack
		}
	}
	if err == nil && now.SignatureSecret != predecessor.SignatureSecret { // as if there were one secret for an endpoint
		err = errors.New("it has another secret now: give it to the receivers (Get returns it)")
	}
	if err != nil {
		return &stepError{"rotate: the create of a successor may have changed the webhook " + s.quotable(predecessor.ID) + ": look whether it is enabled as before", err, true}
	}
	return nil
}

// replaced: the create took the predecessor away. Nothing is delivered any more unless the successor is enabled at once.
func (s *WebhooksService) replaced(ctx context.Context, predecessor, successor *Webhook) error {
	gone, err := s.gone(ctx, predecessor.ID, true, successor.ID)
	if err == nil && !gone {
		err = errors.New("it was answered 404, " + stillListed)
	}
	if err == nil && predecessor.Enabled && !successor.Enabled {
		_, err = s.Patch(ctx, successor.ID, WebhookPatch{Enabled: new(true)})
	}
	text := fmt.Sprintf("the platform put the webhook %s in the place of %s", s.quotable(successor.ID), s.quotable(predecessor.ID))
	if err != nil {
		return &stepError{"rotate: " + text + ", or so it seems: look which of them is there and enabled", err, true}
	}
	return &stepError{"rotate", errors.New(text + ", which is gone: give the receivers the new one's secret now (Get returns it)"), true}
}

// checkSuccessor looks whether what the create returned can be a successor. That it is none that was known before is certain.
func (s *WebhooksService) checkSuccessor(ctx context.Context, predecessor, successor *Webhook, before *inventory) error {
	id := s.quotable(successor.ID)
	switch {
	case successor.SignatureSecret == "": // no receiver could be given it
		return errors.New("the platform's answer holds no secret of the successor " + id + ": delete that webhook")
	case !endpoint.Same(successor.Endpoint, predecessor.Endpoint):
		return fmt.Errorf("the platform made the successor %s with the endpoint %q instead of %q: delete that webhook", id, s.quotable(successor.Endpoint), s.quotable(predecessor.Endpoint))
	case successor.SignatureSecret == predecessor.SignatureSecret: // perhaps it is the predecessor under another id
		return errors.New("the platform gave the successor " + id + " the predecessor's secret, so nothing is won: look whether both webhooks are there, and delete the disabled one")
	case !successor.Enabled:
		return nil
	case !before.whole:
		return errors.New("the platform enabled the successor " + id + " at once, with a secret that the receivers don't know: delete it, unless it was there before")
	}
	// It must not sign a delivery before the receivers know its secret.
	if err := s.remove(ctx, successor.ID, predecessor.ID); err != nil {
		return &stepError{step: "the platform enabled the successor " + id + " at once, and it can't be deleted", err: err}
	}
	return errors.New("the platform enabled the successor at once; it was deleted again")
}

// Secrets returns what the receivers must accept until Finish has returned: the old secret and the new.
func (r *Rotation) Secrets() []Secret { return []Secret{r.Old.SignatureSecret, r.New.SignatureSecret} }

// Finish enables the successor if the predecessor is enabled, and then deletes the predecessor. Between the two, events may come twice,
// once signed with each secret. After an error you may call it again; it goes on where it stopped. If somebody else has deleted the
// predecessor, Finish goes by whether the predecessor was enabled when Rotate returned.
//
// A proxy or a firewall may have answered instead of the API. So Finish returns nil only if the list of webhooks has the successor and not
// the predecessor. If the list can't be read to its end ([ErrListIncomplete]), an answer like the API's is enough.
func (r *Rotation) Finish(ctx context.Context) error {
	if r.service == nil || r.Old == nil || r.New == nil {
		return errors.New("walletcrew: the Rotation isn't one that Rotate returned: use FinishRotation with the two webhooks' ids")
	}
	return r.service.finish(ctx, r.Old.ID, r.New.ID, r.Old)
}

// FinishRotation is [Rotation.Finish] for a process that has only the ids, such as one that was started anew. It reads both webhooks first.
//
// If the predecessor is gone and the successor is enabled, the rotation was finished before, and FinishRotation returns nil. If the
// predecessor is gone and the successor is disabled, nobody can tell whether it should be enabled. That is an error;
// [WebhooksService.Patch] enables it.
//
// It is a [ValidationError] if
//
//   - the webhooks have different endpoints
//   - the webhooks have the same secret
//   - the old one is disabled and the new one enabled: the ids are swapped
func (s *WebhooksService) FinishRotation(ctx context.Context, oldID, newID string) error {
	return s.finish(ctx, oldID, newID, nil)
}

// finish takes the predecessor as it was known before, nil for unknown.
func (s *WebhooksService) finish(ctx context.Context, oldID, newID string, known *Webhook) error {
	if oldID == newID {
		return &ValidationError{Field: "newID", Reason: "is the same as oldID"}
	}
	successor, err := s.Get(ctx, newID)
	if err != nil {
		return &stepError{step: "finish the rotation: the successor", err: err}
	}
	predecessor, err := s.Get(ctx, oldID)
	gone := false
	if errors.Is(err, ErrNotFound) { // which may be a success, so that one answer isn't enough
		if gone, err = s.gone(ctx, oldID, true, successor.ID); err == nil && !gone {
			err = errors.New("it was answered 404, " + stillListed)
		}
	}
	switch {
	case err != nil:
		return &stepError{step: "finish the rotation: the predecessor", err: err}
	case gone && successor.Enabled:
		return nil
	case gone && known == nil:
		return &stepError{step: "finish the rotation", err: errors.New("the predecessor is gone, and the successor is disabled: enable it with Patch if it should be")}
	case gone:
		predecessor = known
	default:
		if err := checkPair(predecessor, successor, known != nil); err != nil {
			return err
		}
	}
	if predecessor.Enabled && !successor.Enabled {
		patched, err := s.Patch(ctx, newID, WebhookPatch{Enabled: new(true)})
		if err == nil && !patched.Enabled {
			err = errors.New("the platform took the patch, but the webhook is still disabled")
		}
		if err != nil {
			return &stepError{step: "finish the rotation: enable the successor", err: err}
		}
	}
	if gone {
		return nil
	}
	if err := s.remove(ctx, oldID, successor.ID); err != nil {
		return &stepError{step: "finish the rotation: delete the predecessor", err: err}
	}
	return nil
}

// checkPair looks whether one webhook can be the other's successor. Rotated: Rotate has made them in this process.
func checkPair(predecessor, successor *Webhook, rotated bool) error {
	switch {
	case predecessor.ID == successor.ID:
		return &ValidationError{Field: "newID", Reason: "names the same webhook as oldID"}
	case !endpoint.Same(predecessor.Endpoint, successor.Endpoint):
		return &ValidationError{Field: "newID", Reason: "names a webhook on another endpoint: it is not the successor of oldID"}
	case predecessor.SignatureSecret == successor.SignatureSecret:
		return &ValidationError{Field: "newID", Reason: "names a webhook with the same secret as oldID's: nothing would be replaced"}
	case !rotated && !predecessor.Enabled && successor.Enabled:
		return &ValidationError{Field: "oldID", Reason: "names a disabled webhook, and newID an enabled one: if the ids aren't swapped, delete the disabled one"}
	}
	return nil
}
