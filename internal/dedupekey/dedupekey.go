// Package dedupekey makes the key that an event is remembered by, and keeps it in a context.
package dedupekey

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
)

// MaxBytes is how long a key can be.
const MaxBytes = 512

// Of returns the key of the event with this "__id" within a scope that the sender can't choose; "" without an id. It is printable
// ASCII without spaces. The scope's first letter names its kind, so that no two kinds can make one key.
func Of(scope, id string) string {
	if id == "" {
		return ""
	}
	key := scope + "/" + url.PathEscape(id)
	if len(key) > MaxBytes {
		sum := sha256.Sum256([]byte(key))
		key = "h/" + hex.EncodeToString(sum[:])
	}
	return key
}

type contextKey struct{}

// keyed is a context with a key. It costs one allocation, and context.WithValue two.
type keyed struct {
	context.Context
	key string
}

func (k *keyed) Value(key any) any {
	if key == (contextKey{}) {
		return k
	}
	return k.Context.Value(key)
}

// With returns a context that holds the key.
func With(ctx context.Context, key string) context.Context { return &keyed{ctx, key} }

// From returns the context's key, "" where it has none.
func From(ctx context.Context) string {
	if k, ok := ctx.Value(contextKey{}).(*keyed); ok {
		return k.key
	}
	return ""
}
