package walletcrew_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// A memoryPlatform keeps webhooks behind a http.RoundTripper, without a network: it works in a synctest bubble, and may keep the events
// in a form of its own.
type memoryPlatform struct {
	form func([]string) []string                     // nil: as they came
	fail func(*http.Request) (*http.Response, error) // answers first, unless it returns nil, nil

	mu    sync.Mutex
	made  int
	hooks []map[string]any
	sent  []string // what changes something: the method and the events
}

func (p *memoryPlatform) client(t *testing.T, opts ...walletcrew.Option) *walletcrew.Client {
	t.Helper()
	client, err := walletcrew.NewClient("acme", append([]walletcrew.Option{
		walletcrew.WithAPIKey(mockedKey), walletcrew.WithHTTPClient(&http.Client{Transport: p}), walletcrew.WithRetries(0, 0, 0),
	}, opts...)...)
	require.NoError(t, err)
	return client
}

func (p *memoryPlatform) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail != nil {
		if resp, err := p.fail(r); resp != nil || err != nil {
			return resp, err
		}
	}
	var body map[string]any
	if r.Body != nil {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			return nil, err
		}
		p.sent = append(p.sent, fmt.Sprint(r.Method, " ", body["events"]))
		if asked, ok := body["events"].([]any); ok {
			body["events"] = p.formed(asked)
		}
	}
	id := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	at := slices.IndexFunc(p.hooks, func(hook map[string]any) bool { return hook["id"] == id })
	switch {
	case r.Method == http.MethodPost:
		p.made++
		body["id"], body["signatureSecret"] = fmt.Sprintf("hook%d", p.made), fmt.Sprintf("secret-%d", p.made)
		p.hooks = append(p.hooks, body)
		return p.answer(r, body), nil
	case id == "webhooks":
		return p.answer(r, p.hooks), nil
	case at < 0:
		return respond(r, 404, `{"status":404}`, "Content-Type", "application/problem+json"), nil
	case r.Method == http.MethodDelete:
		p.hooks = slices.Delete(p.hooks, at, at+1)
		return respond(r, 204, ""), nil
	case r.Method == http.MethodPatch:
		maps.Copy(p.hooks[at], body)
	}
	return p.answer(r, p.hooks[at]), nil
}

func (p *memoryPlatform) formed(asked []any) []string {
	var names []string
	for _, name := range asked {
		names = append(names, name.(string))
	}
	if p.form != nil {
		names = p.form(names)
	}
	return names
}

func (p *memoryPlatform) answer(r *http.Request, what any) *http.Response {
	encoded, err := json.Marshal(what)
	if err != nil {
		panic(err)
	}
	if what == nil || string(encoded) == "null" {
		encoded = []byte("[]")
	}
	return respond(r, 200, string(encoded), "Content-Type", "application/json")
}

// change does what somebody does by hand.
func (p *memoryPlatform) change(how func(hooks []map[string]any) []map[string]any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hooks = how(p.hooks)
}

func (p *memoryPlatform) writes() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.sent)
}

func names(list ...walletcrew.EventName) []walletcrew.EventName { return list }

func specOf(events ...walletcrew.EventName) walletcrew.WebhookSpec {
	return walletcrew.WebhookSpec{Endpoint: hookURL, Events: events}
}

func TestAnEventNameThatHoldsWhatNobodySeesIsRefused(t *testing.T) {
	t.Parallel()
	for _, unseen := range []string{
		" ", "\t", "\n", "\r", "\x00", "\x1b", "\x7f", "\u0085", "\u00a0", "\u00ad", "\u034f", "\u1680", "\u180e", "\u2003", "\u200b", "\u200c", "\u200d", "\u200e",
		"\u2028", "\u2029", "\u202e", "\u202f", "\u2060", "\u3000", "\u3164", "\ufe0f", "\ufeff", "\xff",
	} {
		for _, name := range []string{unseen + "Pass:Installed", "Pass:Installed" + unseen, "Pass:" + unseen + "Installed", unseen + "*", "Pass:*" + unseen} {
			p := &memoryPlatform{}
			s, ctx := p.client(t).Webhooks, t.Context()
			events := names(walletcrew.AllPassEvents, walletcrew.EventName(name))
			_, createErr := s.Create(ctx, specOf(events...))
			_, ensureErr := s.Ensure(ctx, specOf(events...))
			_, patchErr := s.Patch(ctx, "hook1", walletcrew.WebhookPatch{Events: events})
			for call, err := range map[string]error{"Create": createErr, "Ensure": ensureErr, "Patch": patchErr} {
				invalid := &walletcrew.ValidationError{}
				require.ErrorAs(t, err, &invalid, "%s %q", call, name)
				assert.Equal(t, "events[1]", invalid.Field, "it says which")
				assert.Contains(t, invalid.Reason, fmt.Sprintf("%+q", name), "and shows what can't be seen")
				assert.True(t, unseen == " " || !strings.Contains(err.Error(), unseen), "%q", err.Error())
			}
			assert.Empty(t, p.writes(), "nothing is sent")
		}
	}
}

func TestAnEventNameThatCanBeSeenIsTaken(t *testing.T) {
	t.Parallel()
	for _, name := range []walletcrew.EventName{
		"customer.*", "pass.created", "store.*.updated", "*", "**", "*.created", "Pass:Install*", "a", "Größe:Geändert", "店舗:開店", "a-b_c/d:e", "é", "e\u0301:x", "\ufffd",
	} {
		p := &memoryPlatform{}
		_, err := p.client(t).Webhooks.Create(t.Context(), specOf(name))
		require.NoError(t, err)
		assert.Equal(t, []string{"POST [" + string(name) + "]"}, p.writes())
	}
}

// Somebody has made it elsewhere, and its secret must be replaceable all the same.
func TestAWebhookWithANameThatWouldBeRefusedCanBeRotated(t *testing.T) {
	t.Parallel()
	p := &memoryPlatform{}
	client := p.client(t)
	w, err := client.Webhooks.Create(t.Context(), specOf("Pass:*"))
	require.NoError(t, err)
	p.change(func(hooks []map[string]any) []map[string]any {
		hooks[0]["events"] = []string{"Pass:Installed "}
		return hooks
	})
	rotation, err := client.Webhooks.Rotate(t.Context(), w.ID)
	require.NoError(t, err)
	require.NoError(t, rotation.Finish(t.Context()))
	assert.Equal(t, names("Pass:Installed "), rotation.New.Events)
}

var slipsOfNames = map[walletcrew.EventName]walletcrew.EventName{
	"Pass:Instaled": "Pass:Installed", "pass:instaled": "Pass:Installed", "PASS.INSTALED": "Pass:Installed", "Pass:Insatlled": "Pass:Installed",
	"Pass:Install": "Pass:Installed", "Pass:Uninstal": "", "Pass:Uninstall": "Pass:Uninstalled", "Pass:UnInstaled": "Pass:Uninstalled",
	"Pases:*": "Pass:*", "Passes:*": "Pass:*", "Pas:*": "Pass:*", "Psas:*": "Pass:*", "pases.*": "Pass:*", "Passes:Created": "Pass:Created",
	"Customer:Upsert": "Customer:Upserted", "Customer:Upsertd": "Customer:Upserted", "Customers:Upserted": "Customer:Upserted", "Costumer:*": "Customer:*",
	"Customers:*": "Customer:*", "customers.*": "Customer:*", "Redirect:Redirect": "Redirect:Redirected", "Redirects:*": "Redirect:*", "Pass:Update": "Pass:Updated",
	"Pass:Create": "Pass:Created", "Pass:UpdatedSent": "Pass:UpdateSent", "Pass:UpdateSend": "Pass:UpdateSent",
	"PassInstalled": "Pass:Installed", "Pass-Installed": "Pass:Installed", "Pass_Installed": "Pass:Installed", "Pass/Installed": "Pass:Installed", "Pass::Installed": "Pass:Installed",
	"Pass": "Pass:*", "Customer": "Customer:*", "Pаss:Installed": "Pass:Installed", // the second letter is Cyrillic

	"*": "", "Pass:*": "", "pass.*": "", "customer.*": "", "pass.installed": "", "PASS:INSTALLED": "", "store.*.updated": "", "pass.*.updated": "", "**": "", "P*": "", "*.created": "",
	"Pass:Upd*": "", "Store:Opened": "", "Store:Updated": "", "Store:*": "", "Pass:Expired": "", "Pass:Deleted": "", "Pass:Voided": "", "Pass:Scanned": "", "Pass:Reinstalled": "",
	"Pass:Recreated": "", "Customer:Inserted": "", "Customer:Created": "", "Customer:Updated": "", "Customer:Deleted": "", "Redirect:Directed": "", "Page:Created": "", "Task:*": "",
	"Push:*": "", "Pos:Sold": "", "Push": "", "Order:Shipped": "", "a": "", ":": "", "a:b": "", "店舗:開店": "", "Pass:X*": "", "Pass:Installed:Again": "",
}

func TestANameThatIsAlmostAKnownOneIsWarnedOf(t *testing.T) {
	t.Parallel()
	for name, meant := range slipsOfNames {
		p := &memoryPlatform{}
		var log bytes.Buffer
		got, err := p.client(t, walletcrew.WithLogger(slog.New(slog.NewTextHandler(&log, nil)))).Webhooks.Ensure(t.Context(), specOf(name, "Customer:Upserted", name))
		require.NoError(t, err, "a new event may have any name")
		assert.Contains(t, p.writes()[0], string(name), "it is sent as it was written")
		if meant == "" {
			assert.Nil(t, got.Warnings, string(name))
			assert.NotContains(t, log.String(), "did you mean")
			continue
		}
		want := fmt.Sprintf("%q is no event that this version knows: did you mean %q?", string(name), string(meant))
		assert.Equal(t, []string{want}, got.Warnings, string(name))
		assert.Equal(t, 1, strings.Count(log.String(), "did you mean"), "it is logged, once: %s", log.String())
		assert.Contains(t, log.String(), "level=WARN")
		assert.Contains(t, log.String(), string(meant))
	}
}

func TestEveryTypingErrorOfOneLetterIsWarnedOf(t *testing.T) {
	t.Parallel()
	s := (&memoryPlatform{}).client(t).Webhooks
	warned := func(name string) bool {
		got, err := s.Ensure(t.Context(), specOf(walletcrew.EventName(name)))
		require.NoError(t, err)
		return slices.ContainsFunc(got.Warnings, func(text string) bool { return strings.Contains(text, "did you mean") })
	}
	for _, known := range walletcrew.Events() {
		for _, spelled := range []string{string(known), strings.ToLower(string(known)), strings.ToUpper(string(known)), strings.ReplaceAll(string(known), ":", ".")} {
			assert.False(t, warned(spelled), spelled)
		}
		for i := range known {
			without := string(known[:i] + known[i+1:])
			assert.True(t, warned(without), without)
			doubled := string(known[:i+1] + known[i:])
			assert.True(t, warned(doubled), doubled)
			replaced := string(known[:i]) + "ü" + string(known[i+1:])
			assert.True(t, warned(replaced), replaced)
			if i > 0 && known[i] != known[i-1] && known[i] != ':' && known[i-1] != ':' && !strings.EqualFold(string(known[i]), string(known[i-1])) {
				swapped := string(known[:i-1]) + string(known[i]) + string(known[i-1]) + string(known[i+1:])
				assert.True(t, warned(swapped), swapped)
			}
		}
	}
}

func TestASlipIsLoggedAlsoIfThePlatformRefusesIt(t *testing.T) {
	t.Parallel()
	p := &memoryPlatform{fail: func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodPost {
			return respond(r, 400, `{"status":400}`, "Content-Type", "application/problem+json"), nil
		}
		return nil, nil
	}}
	var log bytes.Buffer
	_, err := p.client(t, walletcrew.WithLogger(slog.New(slog.NewTextHandler(&log, nil)))).Webhooks.Ensure(t.Context(), specOf("Pass:Instaled"))
	require.ErrorIs(t, err, walletcrew.ErrBadRequest)
	assert.Contains(t, log.String(), "did you mean")
}

// Forms in which a platform may keep events.
func eachName(f func(string) string) func([]string) []string {
	return func(names []string) []string {
		out := make([]string, len(names))
		for i, name := range names {
			out[i] = f(name)
		}
		return out
	}
}

func dotted(name string) string { return strings.ToLower(strings.ReplaceAll(name, ":", ".")) }

func sorted(names []string) []string { return slices.Sorted(slices.Values(names)) }

// collapsing puts pattern in the place of the names that begin with before.
func collapsing(before, pattern string) func([]string) []string {
	return func(names []string) []string {
		rest := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return strings.HasPrefix(name, before) })
		if len(rest) == len(names) {
			return names
		}
		return append(rest, pattern)
	}
}

func TestEventsThatThePlatformKeepsInAnotherFormAreNotPatchedAtEveryStart(t *testing.T) {
	t.Parallel()
	all := slices.DeleteFunc(walletcrew.Events(), func(name walletcrew.EventName) bool { return name.Category() != "Pass" })
	for name, c := range map[string]struct {
		asked []walletcrew.EventName
		form  func([]string) []string
		warns string // that more events come
	}{
		"as it came":                      {names("Pass:Installed", "Customer:*"), nil, ""},
		"lower case":                      {names("Pass:Installed", "Customer:*", "Store:Opened"), eachName(strings.ToLower), ""},
		"upper case":                      {names("Pass:Installed", "Customer:*", "Store:Opened"), eachName(strings.ToUpper), ""},
		"dots":                            {names("Pass:Installed", "Customer:*", "Store:Opened"), eachName(dotted), ""},
		"another order":                   {names("Pass:Installed", "Customer:*", "Store:Opened"), sorted, ""},
		"another order, reversed":         {names("A:b", "C:d"), func(names []string) []string { names = sorted(names); slices.Reverse(names); return names }, ""},
		"one of two spellings":            {names("Pass:Installed", "pass.installed"), func(names []string) []string { return names[:1] }, ""},
		"each twice":                      {names("Pass:Installed", "Customer:*"), func(names []string) []string { return append(names, names...) }, ""},
		"without what a pattern covers":   {names("Pass:Installed", "Pass:*"), func([]string) []string { return []string{"Pass:*"} }, ""},
		"a pattern's names besides":       {names("Pass:*"), func([]string) []string { return []string{"Pass:*", "Pass:Installed", "Pass:Expired"} }, ""},
		"a whole category as its pattern": {all, collapsing("Pass:", "pass.*"), ""},
		"the same, spelled as documented": {all, collapsing("Pass:", "Pass:*"), ""},
		"a category of one event":         {names("Customer:Upserted"), collapsing("Customer:", "Customer:*"), ""},
		"all known events as *":           {walletcrew.Events(), func([]string) []string { return []string{"*"} }, ""},
		"all categories as *":             {names("Pass:*", "Customer:*", "Redirect:*"), func([]string) []string { return []string{"*"} }, ""},
		"some of a category":              {names("Pass:Created", "Pass:Installed"), collapsing("Pass:", "pass.*"), "pass.*"},
		"some of two categories":          {names("Pass:Created", "Pass:Installed", "Store:Opened", "Store:Shut"), func([]string) []string { return []string{"pass.*", "store.*"} }, "store.*"},
		"some, in lower case as asked":    {names("pass.created", "pass.installed"), func([]string) []string { return []string{"PASS:*"} }, "PASS:*"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, first := range []string{"create", "patch"} {
				p := &memoryPlatform{}
				if first == "patch" {
					_, err := p.client(t).Webhooks.Create(t.Context(), specOf("Loyalty:Earned"))
					require.NoError(t, err)
				}
				p.form = c.form
				before := len(p.writes())
				for start := range 4 {
					client := p.client(t) // a new process
					for range 2 {
						got, err := client.Webhooks.Ensure(t.Context(), specOf(c.asked...))
						require.NoError(t, err)
						if start > 0 {
							assert.Equal(t, walletcrew.EnsureUnchanged, got.Action)
						}
						if c.warns == "" {
							assert.Nil(t, got.Warnings)
							continue
						}
						require.Len(t, got.Warnings, 1)
						assert.Contains(t, got.Warnings[0], "more events come")
						assert.Contains(t, got.Warnings[0], c.warns)
					}
				}
				assert.Len(t, p.writes(), before+1, "the %s, and nothing more", first)
			}
		})
	}
}

func TestARealDifferenceOfTheEventsIsPatched(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ there, asked []walletcrew.EventName }{
		"a name instead of its category":            {names("Pass:Created"), names("Pass:*")},
		"all names of today instead of a category":  {names("Pass:Created", "Pass:Installed", "Pass:Uninstalled", "Pass:Updated", "Pass:UpdateSent"), names("Pass:*")},
		"a category instead of some of its names":   {names("Pass:*"), names("Pass:Created", "Pass:Installed")},
		"the same in another spelling, of one name": {names("pass.*"), names("Pass:Created")},
		"the same, asked for in that spelling":      {names("pass.*"), names("pass.created", "pass.installed")},
		"everything instead of one":                 {names("*"), names("Pass:Created")},
		"everything instead of some":                {names("*"), names("Pass:*", "Customer:*")},
		"one more":                                  {names("Pass:Created", "Pass:Updated"), names("Pass:Created")},
		"one more that isn't known":                 {names("Pass:Created", "Store:Opened"), names("Pass:Created")},
		"a pattern of what isn't known":             {names("Store:*"), names("Store:Opened")},
		"one of what isn't known":                   {names("Store:Opened"), names("Store:*")},
		"one less":                                  {names("Pass:Created"), names("Pass:Created", "Pass:Updated")},
		"one less that isn't known":                 {names("Pass:Created"), names("Pass:Created", "Store:Opened")},
		"another that isn't known":                  {names("Store:Opened"), names("Store:Closed")},
		"another letter, not another case":          {names("Größe:Neu"), names("GRÖSSE:Neu")},
		"other categories besides":                  {names("pass.*", "customer.*"), names("Pass:Created", "Pass:Installed")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &memoryPlatform{}
			_, err := p.client(t).Webhooks.Create(t.Context(), specOf(c.there...))
			require.NoError(t, err)
			client := p.client(t)
			got, err := client.Webhooks.Ensure(t.Context(), specOf(c.asked...))
			require.NoError(t, err)
			assert.Equal(t, walletcrew.EnsureUpdated, got.Action)
			assert.Equal(t, c.asked, got.Webhook.Events)
			assert.Nil(t, got.Warnings)
			require.Len(t, p.writes(), 2)
			got, err = client.Webhooks.Ensure(t.Context(), specOf(c.asked...))
			require.NoError(t, err)
			assert.Equal(t, walletcrew.EnsureUnchanged, got.Action)

			// And again if somebody undoes it.
			p.change(func(hooks []map[string]any) []map[string]any { hooks[0]["events"] = c.there; return hooks })
			got, err = client.Webhooks.Ensure(t.Context(), specOf(c.asked...))
			require.NoError(t, err)
			assert.Equal(t, walletcrew.EnsureUpdated, got.Action)
		})
	}
}

func TestAPlatformThatKeepsOtherEventsIsToldOnceByAProcess(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		asked []walletcrew.EventName
		form  func([]string) []string
		warns []string
	}{
		"it widens":          {names("Pass:Created"), collapsing("Pass:", "Pass:*"), []string{"more events come", `"Pass:*"`}},
		"it takes all":       {names("Pass:Created", "Store:*"), func([]string) []string { return []string{"*"} }, []string{"more events come", `"*"`}},
		"it leaves out":      {names("Pass:Created", "Store:Opened"), func(names []string) []string { return names[:1] }, []string{"no event comes", `"Store:Opened"`}},
		"it keeps none":      {names("Pass:Created"), func([]string) []string { return []string{} }, []string{"no event comes", "has none"}},
		"it spells it out":   {names("Customer:*"), func([]string) []string { return []string{"Customer:Upserted"} }, []string{"no event comes", `"Customer:*"`}},
		"it keeps another":   {names("Pass:Created"), func([]string) []string { return []string{"Pass:Updated"} }, []string{"no event comes", "more events come"}},
		"it quotes the key":  {names("Pass:Created"), func([]string) []string { return []string{mockedKey} }, []string{"[redacted]"}},
		"it keeps very many": {names("Pass:Created"), func([]string) []string { return slices.Repeat([]string{"Pass:Updated\n"}, 1000) }, []string{"and 990 more"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &memoryPlatform{form: c.form}
			ensure := func(s *walletcrew.WebhooksService, want walletcrew.EnsureAction) {
				t.Helper()
				got, err := s.Ensure(t.Context(), specOf(c.asked...))
				require.NoError(t, err)
				assert.Equal(t, want, got.Action)
				require.Len(t, got.Warnings, 1)
				assert.NotContains(t, got.Warnings[0], mockedKey)
				assert.NotContains(t, got.Warnings[0], "\n")
				for _, text := range c.warns {
					assert.Contains(t, got.Warnings[0], text)
				}
			}
			var log bytes.Buffer
			client := p.client(t, walletcrew.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
			ensure(client.Webhooks, walletcrew.EnsureCreated)
			for range 3 {
				ensure(client.Webhooks, walletcrew.EnsureUnchanged)
			}
			assert.Len(t, p.writes(), 1, "the answer to the create said what comes of it")
			assert.Equal(t, 4, strings.Count(log.String(), "level=WARN"))

			again := p.client(t) // it can't know what was asked for before
			for range 3 {
				ensure(again.Webhooks, walletcrew.EnsureUnchanged)
			}
			assert.Len(t, p.writes(), 2, "a new process tells it once")

			c.asked = append(c.asked, "Redirect:Redirected")
			got, err := again.Webhooks.Ensure(t.Context(), specOf(c.asked...))
			require.NoError(t, err)
			require.Len(t, p.writes(), 3, "another wish is told")
			assert.NotNil(t, got.Warnings)
		})
	}
}

func TestWhatElseDiffersIsPatchedWhileTheEventsAreLeft(t *testing.T) {
	t.Parallel()
	p := &memoryPlatform{form: collapsing("Pass:", "Pass:*")}
	client := p.client(t)
	spec := specOf("Pass:Created")
	_, err := client.Webhooks.Ensure(t.Context(), spec)
	require.NoError(t, err)
	spec.Description = "of the shop"
	got, err := client.Webhooks.Ensure(t.Context(), spec)
	require.NoError(t, err)
	assert.Equal(t, walletcrew.EnsureUpdated, got.Action)
	assert.Equal(t, []string{"POST [Pass:Created]", "PATCH <nil>"}, p.writes())
	assert.Len(t, got.Warnings, 1)
	assert.Equal(t, "of the shop", got.Webhook.Description)
}

// A proxy answers in the API's place, and the API did what it was told.
func TestAPatchWhoseEventsAreKeptInAnotherFormHolds(t *testing.T) {
	t.Parallel()
	p := &memoryPlatform{form: eachName(dotted)}
	client := p.client(t)
	w, err := client.Webhooks.Create(t.Context(), specOf("Customer:*"))
	require.NoError(t, err)
	page := p.client(t, walletcrew.WithHTTPClient(&http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := p.RoundTrip(r)
		if err == nil && r.Method == http.MethodPatch {
			_, _ = io.Copy(io.Discard, resp.Body)
			return respond(r, 200, "<html>done</html>", "Content-Type", "text/html"), nil
		}
		return resp, err
	})}))
	got, err := page.Webhooks.Patch(t.Context(), w.ID, walletcrew.WebhookPatch{Events: names("Pass:Installed", "Pass:Created")})
	require.NoError(t, err)
	assert.Equal(t, names("pass.installed", "pass.created"), got.Events)
}
