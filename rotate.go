package walletcrew

import (
	"context"
	"errors"
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
	return &Rotation{Old: predecessor, New: successor, service: s}, nil
}

// Secrets returns what the receivers must accept until Finish has returned: the old secret and the new.
func (r *Rotation) Secrets() []Secret { return []Secret{r.Old.SignatureSecret, r.New.SignatureSecret} }

// Finish enables the successor if the predecessor is enabled, and then deletes the predecessor. Between the two, events may
// come twice, once signed with each secret. It may be called again after an error, and goes on where it stopped.
func (r *Rotation) Finish(ctx context.Context) error {
	return r.service.FinishRotation(ctx, r.Old.ID, r.New.ID)
}

// FinishRotation is [Rotation.Finish] for a process that starts anew: it reads both webhooks first. A predecessor that is gone
// means that the rotation was finished: the successor is left as it is, and must exist. Two ids that aren't of one endpoint
// are a [ValidationError].
func (s *WebhooksService) FinishRotation(ctx context.Context, oldID, newID string) error {
	if oldID == newID {
		return &ValidationError{Field: "newID", Reason: "is the same as oldID"}
	}
	successor, err := s.Get(ctx, newID)
	if err != nil {
		return &stepError{step: "finish the rotation: the successor", err: err}
	}
	predecessor, err := s.Get(ctx, oldID)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil:
		return &stepError{step: "finish the rotation: the predecessor", err: err}
	case !sameEndpoint(predecessor.Endpoint, successor.Endpoint):
		return &ValidationError{Field: "newID", Reason: "names a webhook on another endpoint: it is not the successor of oldID"}
	}
	if predecessor.Enabled && !successor.Enabled {
		if _, err := s.Patch(ctx, newID, WebhookPatch{Enabled: new(true)}); err != nil {
			return &stepError{step: "finish the rotation: enable the successor", err: err}
		}
	}
	if err := s.Delete(ctx, oldID); err != nil && !errors.Is(err, ErrNotFound) {
		return &stepError{step: "finish the rotation: delete the predecessor", err: err}
	}
	return nil
}
