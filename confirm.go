package walletcrew

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// A proxy, a firewall or a login page may answer in the API's place, with 200 or 404 as well. What looks like the API's is taken at its
// word; anything else is confirmed by the list of webhooks, and so is all that something would be lost by if it weren't so.

// likeTheAPIs reports whether an answer of 2xx to a call that changes something may be the API's own.
func (a *Response) likeTheAPIs() bool {
	body, kind := bytes.TrimSpace(a.Body), a.Header.Get("Content-Type")
	switch {
	case a.redirected:
		return false
	case a.status == http.StatusNoContent:
		return true
	case a.status != http.StatusOK:
		return false
	case len(body) == 0:
		return !strings.Contains(strings.ToLower(kind), "html")
	}
	return (kind == "" || isJSON(kind)) && jsontext.Value(body).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// kind says in a few words what came instead of an answer of the API.
func (a *Response) kind() string {
	text := fmt.Sprintf("was %s with %s", statusText(a.status), cmp.Or(oneLine(a.Header.Get("Content-Type"), 100), "no content type"))
	if a.redirected {
		text += " after a redirect"
	}
	return text
}

// likeTheAPIs reports whether an answer that isn't 2xx may be the API's own.
func (e *APIError) likeTheAPIs() bool { return !e.redirected && isJSON(e.Header.Get("Content-Type")) }

func isJSON(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && (kind == "application/json" || kind == "application/problem+json")
}

// redirected reports whether net/http followed a redirect to get the answer.
func redirected(resp *http.Response) bool { return resp.Request != nil && resp.Request.Response != nil }

// notFound returns the 404 that err is, or nil.
func notFound(err error) *APIError {
	if api, ok := errors.AsType[*APIError](err); ok && api.StatusCode == http.StatusNotFound {
		return api
	}
	return nil
}

const stillListed = "but the list has this webhook: something in front of the API seems to have answered"

// confirmNotFound returns err, which comes from a call about the webhook. If it is a 404 that isn't like the API's, it stays
// ErrNotFound only where the list agrees.
func (s *WebhooksService) confirmNotFound(ctx context.Context, id string, err error) error {
	api := notFound(err)
	if api == nil || api.likeTheAPIs() {
		return err
	}
	gone, listErr := s.gone(ctx, id, false, "")
	switch {
	case listErr != nil:
		api.unconfirmed = true
		return &unconfirmedError{err, listErr}
	case !gone:
		api.unconfirmed, api.note = true, stillListed
	}
	return err
}

// An unconfirmedError is that of a call, together with that of the list which would have settled it.
type unconfirmedError struct{ call, list error }

func (e *unconfirmedError) Error() string {
	return e.call.Error() + "; the answer isn't like the API's, and the list that would confirm it can't be had: " + oneLine(plain(e.list), 200)
}

func (e *unconfirmedError) Unwrap() []error { return []error{e.call, e.list} }

// gone reports whether the list doesn't have the webhook. An error, which is never ErrNotFound, means that this can't be told.
//
// Alike: an answer like the API's has said so. That decides where the list can't be read to its end because the platform pages in
// another way. Witness is the id of a webhook that exists, "" for none: a list without it proves nothing.
func (s *WebhooksService) gone(ctx context.Context, id string, alike bool, witness string) (bool, error) {
	inv, err := s.inventory(ctx, "")
	switch {
	case inv.has(id):
		return false, nil
	case err != nil:
		if api := notFound(err); api != nil {
			api.unconfirmed = true
		}
		return false, err
	case !inv.documented:
		return false, s.listError(ctx, "it isn't the JSON array that is documented: is this the API?")
	case !inv.whole && !alike:
		return false, s.listError(ctx, "it can't be read to its end")
	case inv.whole && witness != "" && !inv.has(witness):
		return false, s.listError(ctx, "it lacks "+oneLine(witness, 100)+", too, which is there: is it the API's?")
	}
	return true, nil
}

// listError is for a list that came, and proves nothing.
func (s *WebhooksService) listError(ctx context.Context, why string) error {
	a := s.client.newCall(ctx, http.MethodGet, "webhooks")
	a.attempts = 1
	return a.failed(errors.New("the list of webhooks proves nothing: " + why))
}

// has ignores case: whether the platform does isn't documented, and a webhook that may be there isn't gone.
func (inv *inventory) has(id string) bool {
	if inv.byID[id] != nil {
		return true
	}
	for known := range inv.byID {
		if strings.EqualFold(known, id) {
			return true
		}
	}
	return false
}

// remove deletes a webhook and makes sure that it is gone.
func (s *WebhooksService) remove(ctx context.Context, id, witness string) error {
	if err := s.Delete(ctx, id); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	gone, err := s.gone(ctx, id, true, witness)
	switch {
	case err != nil:
		return &stepError{"the platform said that it is deleted, but that can't be confirmed", err, true}
	case !gone:
		return errors.New("walletcrew: the platform said that it is deleted, but the list still has it")
	}
	return nil
}

// foreignAnswer is the error of a call that was answered with a success that isn't the API's.
func (s *WebhooksService) foreignAnswer(ctx context.Context, method, path string, answer Response, but string) error {
	a := s.client.newCall(ctx, method, path)
	a.attempts, a.maybe = answer.attempts, true
	return a.failed(fmt.Errorf("the answer %s, and %s: is %s the API, with nothing else in front of it?", answer.kind(), but, hostOf(a.url)))
}
