package jetstream

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
)

type message struct{ jetstream.Msg }

func (message) Headers() nats.Header { return nil }

// An event's deliveries to other processes may have been no tries: in an outage it was set aside there.
func TestWhichTryIsTheLast(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		maxTries, try, failedBefore int
		age                         time.Duration
		last                        bool
	}{
		"the first of one":                              {1, 1, 0, 0, true},
		"the first of two":                              {2, 1, 0, 0, false},
		"all of them here":                              {20, 20, 19, 2 * time.Hour, true},
		"the others elsewhere, a moment ago":            {5, 5, 0, time.Minute, true},
		"delivered elsewhere for nine hours":            {20, 90 - 60, 0, 9 * time.Hour, false},
		"and failed here for the third time":            {20, 30, 2, 9 * time.Hour, true},
		"one try, and an outage before":                 {1, 9, 0, 9 * time.Hour, true},
		"two tries, and an outage before":               {2, 5, 0, 9 * time.Hour, false},
		"two tries, failed here for the second time":    {2, 5, 1, 9 * time.Hour, true},
		"workers that are always started anew, at last": {20, 60, 0, 9 * time.Hour, true},
	} {
		consumer := &Consumer{ledger: newLedger(), cfg: ConsumerConfig{MaxTries: c.maxTries}}
		meta := &jetstream.MsgMetadata{Timestamp: time.Now().Add(-c.age)}
		meta.Sequence.Stream = 7
		for range c.failedBefore {
			consumer.ledger.givenBack(meta, time.Second, true)
		}
		d := &delivery{m: message{}, meta: meta, out: Outcome{Try: c.try}}
		assert.Equal(t, c.last, consumer.isLast(d), name)
	}
}

func TestAnEventThatKillsItsWorkersIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		maxTries, try int
		age           time.Duration
		deadly        bool
	}{
		"two crashes a minute":      {20, 52, 26 * time.Minute, true},
		"before that":               {20, 40, 20 * time.Minute, false},
		"few tries":                 {1, 22, 0, true},
		"few tries, a few restarts": {1, 20, 0, false},
		"a restart each five minutes of a nine hours outage": {20, 108, 9 * time.Hour, false},
	} {
		consumer := &Consumer{cfg: ConsumerConfig{MaxTries: c.maxTries}}
		d := &delivery{m: message{}, meta: &jetstream.MsgMetadata{Timestamp: time.Now().Add(-c.age)}, out: Outcome{Try: c.try}}
		assert.Equal(t, c.deadly, consumer.deadly(d), name)
	}
}

// An event that another process has settled never comes back here.
func TestTheLedgerForgets(t *testing.T) {
	t.Parallel()
	l := newLedger()
	for i := range uint64(10_000) {
		meta := new(jetstream.MsgMetadata)
		meta.Sequence.Stream = i
		l.givenBack(meta, -2*forgetAfter, true)
	}
	assert.LessOrEqual(t, len(l.events), 1024)
}
