package walletcrew

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"

	"github.com/google/go-querystring/query"

	"github.com/thewalletcrew/walletcrew-go/internal/endpoint"
)

const (
	maxEmptyPages    = 100       // in a row, or others without anything new
	maxRepeatedPages = 3         // in a row: pages asked for the first time that hold only what others held
	maxPages         = 10_000    // in all
	maxWalked        = 200_000   // webhooks on all pages: each answer has its own limits, but there may be many
	maxWalkedBytes   = 100 << 20 // of all pages
)

const headerContinuation = "X-continuationToken"

// List returns the tenant's webhooks, or one page of them if the platform pages; [WebhooksService.All] follows the pages. Opts
// may be nil.
func (s *WebhooksService) List(ctx context.Context, opts *ListOptions) (*WebhookList, error) {
	list, err := s.page(ctx, opts)
	if err != nil {
		return nil, err
	}
	return &list.WebhookList, nil
}

// A listPage is a page, and what is known of the answer that it came in.
type listPage struct {
	WebhookList
	bytes      int
	documented bool // 200, a JSON array, without a redirect
}

func (s *WebhooksService) page(ctx context.Context, opts *ListOptions) (*listPage, error) {
	path := "webhooks"
	if opts != nil {
		if opts.PageIndex < 0 || opts.PageSize < 0 {
			return nil, &ValidationError{Field: "pageIndex or pageSize", Reason: "is negative"}
		}
		values, err := query.Values(opts)
		if err != nil {
			return nil, fmt.Errorf("walletcrew: encode the list options: %w", err)
		}
		if len(values) > 0 {
			path += "?" + values.Encode()
		}
	}
	list := &listPage{}
	err := s.client.send(ctx, http.MethodGet, path, nil, func(answer Response) error {
		list.ContinuationToken = answer.Header.Get(headerContinuation)
		list.bytes = len(answer.Body)
		list.documented = answer.likeTheAPIs() && bytes.HasPrefix(bytes.TrimSpace(answer.Body), []byte("["))
		return decodeList(ctx, answer.Body, &list.Webhooks)
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// All goes through the webhooks of all pages, each once, in the platform's order. It asks for a page when the loop gets there. An error
// comes once, with a nil webhook, and ends the loop. Opts may be nil.
//
// How the platform pages isn't documented. So All stops if the next page leads nowhere, and logs a warning (see [WithLogger]). If it has
// read that page before, by the same token, the list was read to its end, and there is no error. Otherwise the error is [ErrListIncomplete]
// (errors.Is), and the webhooks that came before it are real:
//
//   - New pages bring only known webhooks: the platform ignores the token.
//   - The platform refuses the token (400, 404, 414, 422).
//   - 100 pages in a row bring nothing new.
//   - The list is over 10,000 pages, 200,000 webhooks or 100 MiB.
func (s *WebhooksService) All(ctx context.Context, opts *ListOptions) iter.Seq2[*Webhook, error] {
	return func(yield func(*Webhook, error) bool) { (&listWalk{service: s, ctx: ctx}).run(opts, yield) }
}

// A listWalk is one walk through the pages of the list.
type listWalk struct {
	service *WebhooksService
	ctx     context.Context

	pages        int
	bytes        int             // of all pages
	webhooks     int             // likewise
	tokens       map[string]bool // that pages were asked for by
	ids          map[string]bool
	stale        int  // pages in a row on which nothing was new
	repeated     int  // of these, those that weren't empty and were asked for by a new token
	undocumented bool // a page wasn't a JSON array that came with 200
}

func (l *listWalk) run(opts *ListOptions, yield func(*Webhook, error) bool) {
	var page ListOptions
	if opts != nil {
		page = *opts
	}
	l.tokens, l.ids = map[string]bool{}, map[string]bool{}
	for {
		token := page.ContinuationToken
		list, err := l.service.page(l.ctx, &page)
		if err != nil {
			yield(nil, l.pageError(err))
			return
		}
		l.pages, l.bytes, l.webhooks = l.pages+1, l.bytes+list.bytes, l.webhooks+len(list.Webhooks)
		l.undocumented = l.undocumented || !list.documented
		l.stale++
		if !l.tokens[token] && len(list.Webhooks) > 0 {
			l.repeated++
		}
		l.tokens[token] = true
		for i := range list.Webhooks {
			w := &list.Webhooks[i]
			if err := l.ctx.Err(); err != nil {
				yield(nil, l.failed(err))
				return
			}
			if l.ids[w.ID] {
				continue
			}
			l.ids[w.ID] = true
			l.stale, l.repeated = 0, 0
			if !yield(w, nil) {
				return
			}
		}
		if list.ContinuationToken == "" {
			return
		}
		if ended, err := l.leadsNowhere(list.ContinuationToken); ended {
			if err != nil {
				yield(nil, err)
			}
			return
		}
		page.PageIndex, page.ContinuationToken = 0, list.ContinuationToken
	}
}

// leadsNowhere reports whether to ask for no further page, and what is wrong then, if something may be missing.
func (l *listWalk) leadsNowhere(next string) (bool, error) {
	circle := l.stale > 0 && l.tokens[next]
	why := ""
	switch {
	case circle && l.repeated > 0, l.repeated == maxRepeatedPages:
		why = "the list goes in a circle: each page is one that came before, as if the platform ignored the continuation token"
	case circle: // a page that was asked for by the same token twice brought nothing new
		l.warn("the list of webhooks goes in a circle; it was read to its end, as far as can be told")
		return true, nil
	case l.stale == maxEmptyPages:
		why = fmt.Sprintf("the list goes in a circle: %d pages in a row hold nothing new, and each names a next one", maxEmptyPages)
	case l.pages == maxPages:
		why = fmt.Sprintf("the list has no end: %d pages, and each names a next one", maxPages)
	case l.webhooks >= maxWalked || l.bytes >= maxWalkedBytes:
		why = fmt.Sprintf("the list has no end: %d webhooks on %d pages (%d MiB), and the last names a next one", l.webhooks, l.pages, l.bytes>>20)
	default:
		return false, nil
	}
	return true, l.incomplete(errors.New(why))
}

// pageError: a first page that is refused is an error like any other. Where only the token can be the reason, the paging isn't as expected.
func (l *listWalk) pageError(err error) error {
	if api, ok := err.(*APIError); ok && l.pages > 0 { //nolint:errorlint // not where it is the last attempt of a call that was ended
		switch api.StatusCode {
		case http.StatusBadRequest, http.StatusNotFound, http.StatusRequestURITooLong, http.StatusUnprocessableEntity:
			api.unconfirmed, api.note = true, "the pages before were answered, so it is most likely the continuation token that is refused"
			return l.incomplete(err)
		}
	}
	return err
}

func (l *listWalk) incomplete(why error) error {
	l.warn("the list of webhooks may be incomplete: the platform doesn't page as this SDK expects", slog.String("error", l.service.client.key.hide(why.Error())))
	return l.failed(fmt.Errorf("%w: %w", ErrListIncomplete, why))
}

func (l *listWalk) failed(err error) error {
	return l.service.client.newCall(l.ctx, http.MethodGet, "webhooks").failed(err)
}

func (l *listWalk) warn(text string, attrs ...slog.Attr) {
	l.service.client.logger().LogAttrs(l.ctx, slog.LevelWarn, "walletcrew: "+text, append(attrs, slog.Int("pages", l.pages), slog.Int("webhooks", len(l.ids)))...)
}

// An inventory is what the list held at one time.
type inventory struct {
	byID       map[string]*Webhook
	on         []*Webhook // those for one endpoint, in the platform's order
	whole      bool       // read to its end: else there may be a webhook that isn't in it
	documented bool       // each page was a JSON array that came with 200
}

// inventory reads the whole list, or what can be had of it where the paging isn't as expected. With an error, it holds what came before.
func (s *WebhooksService) inventory(ctx context.Context, url string) (*inventory, error) {
	inv := &inventory{byID: map[string]*Webhook{}}
	normal := endpoint.Normal(url)
	walk := &listWalk{service: s, ctx: ctx}
	var failure error
	walk.run(nil, func(w *Webhook, err error) bool {
		if err != nil {
			failure = err
			return false
		}
		inv.byID[w.ID] = w
		if w.Endpoint == url || endpoint.Normal(w.Endpoint) == normal {
			inv.on = append(inv.on, w)
		}
		return true
	})
	inv.documented = !walk.undocumented
	inv.whole = failure == nil
	if errors.Is(failure, ErrListIncomplete) {
		failure = nil
	}
	return inv, failure
}
