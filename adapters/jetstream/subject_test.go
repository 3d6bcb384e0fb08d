package jetstream

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

func TestSubjectIsReadable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		tenant string
		name   walletcrew.EventName
		want   string
	}{
		{"acme", "Pass:Installed", "acme.Pass.Installed"},
		{"test-tenant_1", "Customer:Upserted", "test-tenant_1.Customer.Upserted"},
		{"acme", "pass.installed", "acme.Pass.Installed"},
		{"acme", "PASS:updatesent", "acme.Pass.UpdateSent"},
		{"acme", "pass:Scanned", "acme.Pass.Scanned"},
		{"acme", "Loyalty:TierChanged", "acme.Loyalty.TierChanged"},
		{"a.b c", "Loyalty:Tier.Up", "a%2Eb%20c.Loyalty.Tier%2EUp"},
		{"*", "Pass:>", "%2A.Pass.%3E"},
		{"", "", "~.~.~"},
		{"~", "Ping", "%7E.~.Ping"},
		{"acme", ":Ping", "acme.~.%3APing"},
		{"acme", "Pass:", "acme.Pass.~"},
		{"é", "Pass:a:b", "%C3%A9.Pass.a%3Ab"},
	} {
		assert.Equal(t, c.want, Subject(c.tenant, c.name))
	}
	assert.Regexp(t, `^acme\.X\.~[A-Za-z0-9_-]{43}$`, Subject("acme", walletcrew.EventName("X:"+strings.Repeat("n", 201))))
}

func TestParseSubjectRefusesWhatSubjectDoesNotMake(t *testing.T) {
	t.Parallel()
	for _, subject := range []string{"", "a", "a.b", "a.b.c.d", "a..c", "a.b.%4", "a.b.%zz", "a.b.%2e", "a.b.%41", "a.~.b%3Ac", "a.b%3Ac.d", "a.pass.Created", "a.b.~xyz", "a.b.c d"} {
		_, _, ok := ParseSubject(subject)
		assert.False(t, ok, subject)
	}
}

// FuzzSubject: whatever the tenant and the name are, the subject is one that NATS takes, says what they were, and belongs to no
// other tenant and name.
func FuzzSubject(f *testing.F) {
	for _, s := range []string{"", "acme", "Pass:Created", "pass.created", "a.b", "* >", "~", "%2E", "\x00\r\n", "é", ":", ".", "::", "~.~", strings.Repeat("x", 300)} {
		f.Add(s, s, "acme", "Pass:Created")
		f.Add("acme", s, s, "Pass:Created")
	}
	f.Fuzz(func(t *testing.T, tenant, name, otherTenant, otherName string) {
		subject := Subject(tenant, walletcrew.EventName(name))
		tokens := strings.Split(subject, ".")
		require.Len(t, tokens, 3)
		hashed := false
		for _, token := range tokens {
			require.NotEmpty(t, token)
			require.LessOrEqual(t, len(token), maxToken)
			require.NotContains(t, token, "*")
			require.NotContains(t, token, ">")
			for _, c := range []byte(token) {
				require.True(t, '!' <= c && c <= '~', "byte %d", c)
			}
			hashed = hashed || len(token) > 1 && token[0] == '~'
		}
		gotTenant, gotName, ok := ParseSubject(subject)
		require.Equal(t, !hashed, ok)
		if ok {
			require.Equal(t, tenant, gotTenant)
			require.Equal(t, plainName(name), string(gotName))
			require.Equal(t, subject, Subject(gotTenant, gotName))
		}
		if Subject(otherTenant, walletcrew.EventName(otherName)) == subject {
			require.Equal(t, tenant, otherTenant)
			require.Equal(t, plainName(name), plainName(otherName))
		}
		for _, keep := range []func(byte) bool{isPlain, isHeaderSafe} {
			back, ok := unescape(escape(name, keep))
			require.True(t, ok)
			require.Equal(t, name, back)
		}
	})
}

// plainName is the name with the spellings of one event made one.
func plainName(name string) string {
	category, rest := split(canonical(walletcrew.EventName(name)))
	if category == "" {
		return rest
	}
	return category + ":" + rest
}

func TestFiltersHoldWhatThePatternsMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		patterns string
		want     string
	}{
		{"*", "p.*.*.*"},
		{"Pass:*", "p.*.Pass.*"},
		{"pass.*", "p.*.Pass.*"},
		{"Loyalty:*", "p.*.Loyalty.*"},
		{"Pass:Installed", "p.*.Pass.Installed"},
		{"pass.installed", "p.*.Pass.Installed"},
		{"Ping", "p.*.~.Ping"},
		{"Pass:* Pass:Installed pass.*", "p.*.Pass.*"},
		{"Pass:Created Customer:* Pass:Installed", "p.*.Customer.* p.*.Pass.Created p.*.Pass.Installed"},
		{"Pass:Created *", "p.*.*.*"},
		{"a_b:*", "p.*.a_b.*"},
		{"aéb:*", "p.*.a%C3%A9b.*"},
	} {
		var patterns []walletcrew.EventName
		for p := range strings.FieldsSeq(c.patterns) {
			patterns = append(patterns, walletcrew.EventName(p))
		}
		got, err := filters("p", patterns)
		require.NoError(t, err, c.patterns)
		assert.Equal(t, strings.Fields(c.want), got, c.patterns)
	}
}

func TestAPatternThatTheServerCannotSortOutIsAnError(t *testing.T) {
	t.Parallel()
	for _, pattern := range []walletcrew.EventName{"**", "Pass:Up*", "Pass:**", "Pass:v2.*", "*:Created", "*:*", "Pass*", "P*:Created", "P*:*", ":*", "*Created"} {
		_, err := filters("p", []walletcrew.EventName{"Pass:Created", pattern})
		assert.ErrorContains(t, err, fmt.Sprintf("%q", pattern))
	}
}

func TestCovers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		outer, inner string
		want         bool
	}{
		{"a.*.*.*", "a.*.*.*", true},
		{"a.>", "a.*.*.*", true},
		{">", "a.*.*.*", true},
		{"*.*.*.*", "a.*.*.*", true},
		{"a.b.*.*", "a.*.*.*", false},
		{"a.*.*", "a.*.*.*", false},
		{"a.*.*.*.*", "a.*.*.*", false},
		{"b.>", "a.*.*.*", false},
		{"a.*", "a.>", false},
		{"a.>", "a.>", true},
		{"a.b.c.d.>", "a.*.*.*", false},
	} {
		assert.Equal(t, c.want, covers(c.outer, c.inner), "%s covers %s", c.outer, c.inner)
	}
}
