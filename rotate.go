package walletcrew

import (
	"context"
	"errors"

	"github.com/thewalletcrew/walletcrew-go/internal/endpoint"
)

// A Rotation is a webhook on its way to a new secret; see [WebhooksService.Rotate].
type Rotation struct {
	// Old and New are the predecessor and the successor as they were when Rotate returned.
	Old, New *Webhook

	service *WebhooksService
}

// Rotate replaces a webhook's secret without losing a delivery. The API can't change a secret, so it creates a successor: the
// same endpoint, events and description, but disabled, so that nothing is signed with a secret that the receivers don't have
// yet. Give them [Rotation.Secrets], then call [Rotation.Finish].
//
// A process that dies after Rotate leaves the predecessor at work and a disabled webhook on the same endpoint. It does no harm:
// [WebhooksService.Ensure] keeps to the enabled one and names the other in Duplicates, and a receiver with verifier.FromAPI
// knows both secrets. [WebhooksService.FinishRotation] with the two ids finishes it; deleting the disabled one gives it up.
// Calling Rotate again makes another successor.
//
// An error that is [ErrOutcomeUnknown] may have left a disabled successor, too.
func (s *WebhooksService) Rotate(ctx context.Context, id string) (*Rotation, error) {
	predecessor, err := s.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	successor, err := s.Create(ctx, WebhookSpec{
		Endpoint:    predecessor.Endpoint,
		Events:      predecessor.Events,
		Description: predecessor.Description,
		Enabled:     new(false),
	})
	if err != nil {
		return nil, err
	}
	if successor.SignatureSecret == "" { // no receiver could be given it
		return nil, &stepError{step: "rotate", err: errors.New("the platform's answer holds no secret of the successor " + successor.ID + ": delete that webhook")}
	}
	if successor.Enabled { // it must not sign a delivery before the receivers know its secret
		if err := s.Delete(ctx, successor.ID); err != nil {
			return nil, &stepError{step: "rotate: the platform enabled the successor " + successor.ID + " at once, and it can't be deleted", err: err}
		}
		return nil, &stepError{step: "rotate", err: errors.New("the platform enabled the successor at once; it was deleted again")}
	}
	return &Rotation{Old: predecessor, New: successor, service: s}, nil
}

// Secrets returns what the receivers must accept until Finish has returned: the old secret and the new.
func (r *Rotation) Secrets() []Secret { return []Secret{r.Old.SignatureSecret, r.New.SignatureSecret} }

// Finish enables the successor if the predecessor is enabled, and then deletes the predecessor. Between the two, events may
// come twice, once signed with each secret. It may be called again after an error, and goes on where it stopped. If somebody else
// has deleted the predecessor, the successor is enabled if the predecessor was when Rotate returned.
func (r *Rotation) Finish(ctx context.Context) error {
	if r.service == nil || r.Old == nil || r.New == nil {
		return errors.New("walletcrew: the Rotation isn't one that Rotate returned: use FinishRotation with the two webhooks' ids")
	}
	return r.service.finish(ctx, r.Old.ID, r.New.ID, r.Old)
}

// FinishRotation is [Rotation.Finish] for a process that starts anew: it reads both webhooks first. Where the predecessor is gone
// and the successor is enabled, the rotation was finished before. Where the predecessor is gone and the successor is disabled,
// nobody can tell whether it should be: that is an error, and Patch enables it. Two ids that aren't of one endpoint are a
// [ValidationError], and so are an old webhook that is disabled and a new one that is enabled: the ids are swapped.
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
	gone := errors.Is(err, ErrNotFound)
	switch {
	case gone && successor.Enabled:
		return nil
	case gone && known == nil:
		return &stepError{step: "finish the rotation", err: errors.New("the predecessor is gone, and the successor is disabled: enable it with Patch if it should be")}
	case gone:
		predecessor = known
	case err != nil:
		return &stepError{step: "finish the rotation: the predecessor", err: err}
	case !endpoint.Same(predecessor.Endpoint, successor.Endpoint):
		return &ValidationError{Field: "newID", Reason: "names a webhook on another endpoint: it is not the successor of oldID"}
	case known == nil && !predecessor.Enabled && successor.Enabled:
		return &ValidationError{Field: "oldID", Reason: "names a disabled webhook, and newID an enabled one: if the ids aren't swapped, delete the disabled one"}
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
	if err := s.Delete(ctx, oldID); err != nil && !errors.Is(err, ErrNotFound) {
		return &stepError{step: "finish the rotation: delete the predecessor", err: err}
	}
	return nil
}
