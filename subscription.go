package walletcrew

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/thewalletcrew/walletcrew-go/internal/endpoint"
)

// What a webhook's events mean: names that can't be meant, names that are most likely a slip, and whether two lists are one subscription.

// checkNames refuses what nobody sees, as a name that was copied from a page may hold: no event would ever come for it.
func checkNames(events []EventName) error {
	for i, name := range events {
		reason := ""
		if !utf8.ValidString(string(name)) {
			reason = "isn't valid UTF-8"
		} else if at := strings.IndexFunc(string(name), unseen); at >= 0 {
			r, _ := utf8.DecodeRuneInString(string(name[at:]))
			reason = fmt.Sprintf("holds white space, or a character that can't be seen: %U", r)
		}
		if reason != "" {
			return &ValidationError{Field: fmt.Sprintf("events[%d]", i), Reason: fmt.Sprintf("%s, in %+.100q", reason, string(name))}
		}
	}
	return nil
}

// unseen: white space, control and format characters (zero-width ones, a byte order mark), and others that are drawn as nothing.
func unseen(r rune) bool {
	return unicode.IsSpace(r) || unicode.In(r, unicode.Z, unicode.Cc, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// slips says of each name that is no known event, and almost one, which one may have been meant.
func slips(events []EventName) []string {
	var warnings []string
	for _, name := range unique(events) {
		if meant := nearest(name); meant != "" {
			warnings = append(warnings, fmt.Sprintf("%q is no event that this version knows: did you mean %q?", string(name), string(meant)))
		}
	}
	return warnings
}

// nearest returns the known event, or the pattern of a known category, that a name almost is; "" if there is none, or if the name is
// known or a pattern that matches known events.
func nearest(name EventName) EventName {
	if len(matched(name)) > 0 {
		return ""
	}
	var best EventName
	least := -1
	for _, known := range Events() {
		for _, candidate := range []EventName{known, EventName(known.Category()) + ":*"} {
			if d, near := apart(name, candidate); near && (least < 0 || d < least) {
				best, least = candidate, d
			}
		}
	}
	return best
}

// apart counts the edits between a name and a documented one, and says whether they are so few that a person has most likely mistyped.
// Category and name are looked at each for itself, so that a new event of a known category isn't taken for a slip.
func apart(name, documented EventName) (edited int, near bool) {
	if len(name) > 2*len(documented)+8 {
		return 0, false
	}
	want := strings.Split(string(documented.normal()), ":")
	got := slices.DeleteFunc(strings.Split(string(name.normal()), ":"), func(part string) bool { return part == "" }) // "Pass::Installed"
	switch len(got) {
	case len(want):
	case 1: // "PassInstalled", "Pass-Installed", "Pass"
		want = []string{strings.Join(want, ":")}
	default:
		return 0, false
	}
	for i := range want {
		a, b := []rune(got[i]), []rune(want[i])
		d := edits(a, b)
		switch longer := max(len(a), len(b)); {
		case d == 0:
		case d == 1 && longer > 2:
		case d == 2 && longer > 5 && a[0] == b[0]: // "Reinstalled" is no "Uninstalled"
		default:
			return 0, false
		}
		edited += d
	}
	return edited, true
}

// edits is the number of letters to put in, take out, replace or swap with their neighbour: the optimal string alignment distance.
func edits(a, b []rune) int {
	var before []int
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range a {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range b {
			replace := last[j]
			if a[i] != b[j] {
				replace++
			}
			row[j+1] = min(replace, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// normal is the form that equal names share; see [EventName.Known].
func (n EventName) normal() EventName {
	b := []byte(n)
	for i, c := range b {
		b[i] = fold(c) // of ASCII only: no byte of another letter is changed
	}
	return EventName(b)
}

// matched are the known events that a name or a pattern means.
func matched(pattern EventName) []EventName {
	return slices.DeleteFunc(Events(), func(known EventName) bool { return !known.Matches(pattern) })
}

// covered reports whether one of the patterns takes all that name, which may itself be a pattern, takes.
func covered(name EventName, by []EventName) bool { return slices.ContainsFunc(by, name.Matches) }

// sameSubscription reports whether a webhook with the events there gets what was asked for, and no known event besides. So a platform
// may spell names in its own way, sort them, drop repeated ones, and put one pattern in the place of all the known events that it matches.
func sameSubscription(asked, there []EventName) bool {
	return len(missing(asked, there)) == 0 && len(surplus(asked, there)) == 0
}

// missing are the events asked for that there doesn't take. A pattern isn't taken by a list of today's names.
func missing(asked, there []EventName) []EventName {
	return slices.DeleteFunc(unique(asked), func(name EventName) bool { return covered(name, there) })
}

// surplus are those there that take more than was asked for, of what is known.
func surplus(asked, there []EventName) []EventName {
	return slices.DeleteFunc(slices.Clone(there), func(name EventName) bool {
		known := matched(name)
		return covered(name, asked) || len(known) > 0 && !slices.ContainsFunc(known, func(event EventName) bool { return !covered(event, asked) })
	})
}

// collapsed reports whether there differs only in that the platform has put a category's pattern in the place of several names: it is
// spelled as none of those asked for, so nobody has asked for it in this code's earlier versions.
func collapsed(asked, there []EventName) bool {
	if len(missing(asked, there)) > 0 {
		return false
	}
	for _, pattern := range surplus(asked, there) {
		category, star := strings.CutSuffix(string(pattern), "*")
		if !star || category == "" || strings.IndexAny(category, ":.") != len(category)-1 {
			return false
		}
		names := normalSet(slices.DeleteFunc(unique(asked), func(name EventName) bool { return !name.Matches(pattern) }))
		ours := slices.ContainsFunc(asked, func(name EventName) bool { return strings.HasPrefix(string(name), category) })
		if ours || len(names) < 2 {
			return false
		}
	}
	return true
}

// answered looks at the answer to a create or a patch: where the platform keeps other events than it was told, it isn't told again.
func (s *WebhooksService) answered(spec *WebhookSpec, w *Webhook) []string {
	warnings := s.otherEvents(spec, w)
	if warnings != nil {
		s.made.tell(spec, w)
	}
	return warnings
}

// otherEvents says which events a webhook takes that weren't asked for, and which it doesn't take.
func (s *WebhooksService) otherEvents(spec *WebhookSpec, w *Webhook) []string {
	lacks, more := missing(spec.Events, w.Events), surplus(spec.Events, w.Events)
	if len(lacks) == 0 && len(more) == 0 {
		return nil
	}
	text := "the webhook " + w.ID + " was asked for the events " + quotedNames(spec.Events) + ", and has " + quotedNames(w.Events)
	if len(lacks) > 0 {
		text += ": no event comes for " + quotedNames(lacks)
	}
	if len(more) > 0 {
		text += ": more events come than were asked for, by " + quotedNames(more)
	}
	return []string{oneLine(s.client.key.hide(text), 1000)}
}

// otherEvents are those that the platform keeps where it was told to keep others.
type otherEvents struct {
	id           string
	asked, there []EventName // normal sets
}

// tell notes what the platform's answer made of the events that it was told.
func (m *madeWebhooks) tell(spec *WebhookSpec, w *Webhook) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.other == nil {
		m.other = map[string]otherEvents{}
	}
	m.other[endpoint.Normal(spec.Endpoint)] = otherEvents{w.ID, normalSet(spec.Events), normalSet(w.Events)}
}

// told reports whether the platform was told these events, and has answered with what the webhook has now.
func (m *madeWebhooks) told(spec *WebhookSpec, w *Webhook) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.other[endpoint.Normal(spec.Endpoint)]
	return ok && o.id == w.ID && slices.Equal(o.asked, normalSet(spec.Events)) && slices.Equal(o.there, normalSet(w.Events))
}

// normalSet returns the names in their normal form, sorted, each once.
func normalSet(events []EventName) []EventName {
	names := make([]EventName, len(events))
	for i, name := range events {
		names[i] = name.normal()
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// sameNames reports whether the lists are one but for spelling, order and repetition.
func sameNames(a, b []EventName) bool { return slices.Equal(normalSet(a), normalSet(b)) }

// quotedNames is for a text.
func quotedNames(events []EventName) string {
	const most = 10
	var texts []string
	for _, name := range events[:min(len(events), most)] {
		texts = append(texts, fmt.Sprintf("%.100q", string(name)))
	}
	if len(events) > most {
		texts = append(texts, fmt.Sprintf("and %d more", len(events)-most))
	}
	if len(texts) == 0 {
		return "none"
	}
	return strings.Join(texts, ", ")
}
