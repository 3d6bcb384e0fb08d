package walletcrewtest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// keys claims keys that a collation, a limit, a pattern or a hash could take for one another, and ends their leases in different
// ways.
func (t *ruleTest) keys() {
	keys := t.similarKeys()
	tokens := make([]string, len(keys)) // "": not claimed
	t.each(len(keys), func(i int) {
		when := "of the new key " + abridged(keys[i])
		if !strings.Contains(keys[i], " ") {
			tokens[i], _ = t.claim(keys[i], longLease, receiver.Claimed, when)
			return
		}
		t.call("Claim "+when, func(ctx context.Context) { // no key of a handler has a space: it may be refused, but not taken for another
			if claim, err := t.d.Claim(ctx, keys[i], longLease); err == nil && t.answered(claim, receiver.Claimed, when) {
				tokens[i] = claim.Token
			}
		})
	})
	t.each(len(keys), func(i int) {
		other := tokens[(i+1)%len(keys)]
		if tokens[i] == "" || other == "" || other == tokens[i] {
			return
		}
		t.complete(keys[i], other, receiver.ErrLeaseLost, "of the key "+abridged(keys[i])+" with another key's token")
		t.release(keys[i], other, receiver.ErrLeaseLost, "of the key "+abridged(keys[i])+" with another key's token")
	})
	ends := []receiver.ClaimState{receiver.Done, receiver.Claimed, receiver.Held} // neighbours end differently
	t.each(len(keys), func(i int) {
		switch {
		case tokens[i] == "":
		case ends[i%3] == receiver.Done:
			t.complete(keys[i], tokens[i], nil, "of the key "+abridged(keys[i]))
		case ends[i%3] == receiver.Claimed:
			t.release(keys[i], tokens[i], nil, "of the key "+abridged(keys[i]))
		}
	})
	t.each(len(keys), func(i int) {
		if tokens[i] == "" {
			return
		}
		want := ends[i%3]
		token, ok := t.claim(keys[i], longLease, want, "of the key "+abridged(keys[i])+", after others were completed and released")
		switch {
		case !ok || want == receiver.Done:
		case want == receiver.Held:
			t.release(keys[i], tokens[i], nil, "of the key "+abridged(keys[i]))
		default:
			t.release(keys[i], token, nil, "of the key "+abridged(keys[i]))
		}
	})
	t.crowd()
}

// crowd claims many keys, to find hashes that are too short: of 16 bits with certainty, of 24 at times. The keys end in random text,
// because a simple hash, such as FNV, tells numbers that follow one another apart better than chance would.
func (t *ruleTest) crowd() {
	const many = 2000
	end := time.Now().Add(time.Second)
	tokens := make([]string, many)
	var merged atomic.Bool
	keys := make([]string, many)
	for i := range keys {
		keys[i] = fmt.Sprintf("-/%s-crowd-%s", t.id, rand.Text())
	}
	t.each(many, func(i int) {
		if merged.Load() || time.Now().After(end) && i > many/2 {
			return
		}
		token, ok := t.claim(keys[i], longLease, receiver.Claimed, fmt.Sprintf("of one of %d new keys", many))
		if !ok {
			merged.Store(true)
		}
		tokens[i] = token
	})
	t.each(many, func(i int) {
		if tokens[i] != "" && !merged.Load() {
			t.release(keys[i], tokens[i], nil, fmt.Sprintf("of one of %d keys", many))
		}
	})
}

// each calls f for each i below n, several at once.
func (t *ruleTest) each(n int, f func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && t.ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}

// similarKeys returns keys of all forms that a handler makes, and what can become of them where text is changed: without
// repetitions, similar ones side by side.
func (t *ruleTest) similarKeys() []string {
	sum := sha256.Sum256([]byte(t.id))
	hash := hex.EncodeToString(sum[:])
	var keys []string
	for _, scope := range []string{
		"-", "t/acme", "t/Acme", "t/ACME", "t/acm", "t/acme2", "t/acme.", "t/acme%20", "t/acme%2Fshop", "t/acme/shop", "t/-", "t/t", "t/s", "t/h",
		"s/" + hash[:32], "s/" + hash[:31] + "-", "s/" + hash, "s/" + hash[:63] + "-", "t/" + hash,
	} {
		keys = append(keys, scope+"/"+t.id+"-0", scope+"/"+t.id+"-1")
	}
	keys = append(keys, "h/"+hash, "h/"+hash[:63]+"-", "h/-"+hash[1:], "t/acme/h/"+hash)
	for _, end := range []string{
		"", "a", "A", "b", "aa", "aA", "a0", "a00", "a.", "a..", "a=", "a==", "a-", "a_", "a~", "a+", "a ", "a  ", " a", "a b", "a+b", "a%20b",
		"a%", "a%%", "a%25", "a%2525", "%61", "%41", "a%2F", "a%2f", "a%252F", "a%00", "a%0A", "a%5Cb", "a%2Fb", "a/b", "a//b", "a/./b", "a/x/../b",
		"a/", "a//", "/a", "//a", "ab", "aXb", "aB", "a-b", "a_b", "a.b", "a:b", "a,b", "a;b", "a|b", "a&b", "a=b", "a@b", "a~b", "a!b", "a^b", "a$b",
		"a*", "a?", "a?b", "a?c", "a#b", "a#c", "[a]", "[ab]", "(a)", "<a>", "{a}", "{a}b", "{a}c", "a{}", "${a}", "a$1", `a\`, `a\\`, `a\b`, "'a'", "a''", `"a"`,
		"`a`", "a--", "/1", "/01", "/1.0", "/1e0", "/+1", "/0x1", "/10", "/100", "/null", "/NULL", "/true", "/True", "a.json", "a.JSON",
	} {
		keys = append(keys, "t/acme/"+t.id+end)
	}
	for _, n := range []int{48, 63, 64, 65, 99, 100, 101, 127, 128, 129, 190, 191, 192, 200, 250, 254, 255, 256, 257, 300, 383, 384, 400, 500, 510, 511, 512} {
		long := "t/acme/" + t.id
		long += strings.Repeat("k", n-len(long)) // each is the beginning of the next
		keys = append(keys, long, long[:n-1]+"l", long[:n-1]+"K", "t/acmf"+long[6:], "s/acme"+long[6:])
	}
	for i := range 16 { // differ in one byte, wherever it is
		long := []byte("t/acme/" + t.id + strings.Repeat("k", 512-len(t.id)-7))
		long[len(t.id)+7+i*29] = 'i'
		keys = append(keys, string(long))
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(keys, func(key string) bool {
		again := seen[key]
		seen[key] = true
		return again
	})
}

// abridged quotes a key.
func abridged(key string) string {
	short := key
	if len(key) > 80 {
		short = key[:48] + "…" + key[len(key)-16:]
	}
	return fmt.Sprintf("%q (%d bytes)", short, len(key))
}
