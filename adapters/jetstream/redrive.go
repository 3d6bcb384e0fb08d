package jetstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Redrive puts the event back into its stream, and removes the dead letter once the stream has it. The event's tries start again from 1. If
// somebody else has put it back or deleted it, Redrive changes nothing and returns [ErrNoDeadLetter].
//
// In a log (StreamConfig.KeepFor), all consumers get the event again, also those that have handled it. To handle it for one consumer only,
// call its function with receiver.WithKey(ctx, d.Key) and d.Event, and then Delete.
//
// The event keeps its key, so that a deduper in the function knows an effect that was already made. The duplicate window doesn't stop the
// event.
//
// Several processes may call Redrive and Delete for one dead letter. One call at a time takes effect, because it first stores a claim, a
// message in the dead letters' stream.
//
//   - If a process dies in between, nothing is lost: the dead letter stays until the event is back in the stream. Its claim holds up the
//     next call for 20 s. If that is a Redrive within the duplicate window, an event that is already back isn't put back twice.
//   - If the dead letters' stream is full, there is no room for a claim. Then don't redrive and delete the same dead letter at the same
//     moment.
func (d *DeadLetter) Redrive(ctx context.Context) error {
	return d.claimed(ctx, func(ctx context.Context, dead jetstream.Stream) error {
		if err := d.putBack(ctx); err != nil {
			return err
		}
		return d.remove(ctx, dead)
	})
}

// Delete removes the dead letter; the event is gone then. The error is [ErrNoDeadLetter] if somebody else has put it back or deleted it.
// Only one of several calls of Redrive and Delete takes effect, see [DeadLetter.Redrive].
func (d *DeadLetter) Delete(ctx context.Context) error {
	return d.claimed(ctx, d.remove)
}

func (d *DeadLetter) putBack(ctx context.Context) error {
	m := &nats.Msg{Subject: d.Subject, Data: d.Body, Header: make(nats.Header)}
	for name, values := range d.header {
		if slices.Contains([]string{HeaderEvent, HeaderTenant, HeaderID, HeaderKey, HeaderReceived}, name) || strings.HasPrefix(name, headerPrefix) {
			m.Header[name] = values
		}
	}
	if !d.Time.IsZero() {
		m.Header.Set(HeaderPublished, d.Time.UTC().Format(time.RFC3339Nano))
	}
	m.Header.Set(jetstream.ExpectedStreamHeader, d.stream.cfg.Name)
	// Not the event's own: within the duplicate window, the stream would take it for what it has had.
	m.Header.Set(jetstream.MsgIDHeader, fmt.Sprintf("redrive.%d.%d", d.sequence, d.DiedAt.UnixNano()))
	return d.stream.publishWhole(ctx, "put a dead letter back", m, HeaderPublished, jetstream.MsgIDHeader, jetstream.ExpectedStreamHeader)
}

func (d *DeadLetter) remove(ctx context.Context, dead jetstream.Stream) error {
	seen := d.stream.nc.LastError()
	err := dead.DeleteMsg(ctx, d.sequence)
	if err == nil {
		return nil
	}
	if gone := d.there(ctx, dead); errors.Is(gone, ErrNoDeadLetter) {
		return gone // by hand, since this call has the claim
	}
	return d.stream.explain("delete a dead letter", seen, err)
}

// there returns [ErrNoDeadLetter] if the dead letter is gone.
func (d *DeadLetter) there(ctx context.Context, dead jetstream.Stream) error {
	_, err := d.stream.getDeadLetter(ctx, dead, d.ID, d.sequence)
	return err
}

const (
	claimTime     = 15 * time.Second       // a call has this long after it has the claim
	claimTakeover = 20 * time.Second       // a claim that has been there this long is of a process that died
	claimPoll     = 100 * time.Millisecond // how often a call looks whether another has ended
)

// claimed calls do while no other call in any process can put the dead letter back or delete it, and only if it is there.
func (d *DeadLetter) claimed(ctx context.Context, do func(context.Context, jetstream.Stream) error) error {
	seen := d.stream.nc.LastError()
	dead, err := d.stream.js.Stream(ctx, d.stream.deadLetters().Name)
	if err != nil {
		return d.stream.explain("look up the dead letters", seen, err)
	}
	if err := d.there(ctx, dead); err != nil {
		return err
	}
	claims, err := d.claim(ctx, dead)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, claimTime)
	defer cancel()
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
		defer cancel()
		for _, sequence := range claims {
			_ = dead.DeleteMsg(ctx, sequence) // what stays is taken over
		}
	}()
	if err := d.there(ctx, dead); err != nil { // whoever had the claim before may have removed it
		return err
	}
	return do(ctx, dead)
}

// claimSubject has one token less than a dead letter's subject.
func (s *Stream) claimSubject(id string) string { return s.deadSubject("~claim." + id) }

// claim waits until nobody else has the claim. It returns the sequences of the messages to delete at the end.
func (d *DeadLetter) claim(ctx context.Context, dead jetstream.Stream) ([]uint64, error) {
	s, subject := d.stream, d.stream.claimSubject(d.ID)
	var last uint64 // the claim of another
	since := time.Now()
	for {
		expected := uint64(0) // none
		if last != 0 && time.Since(since) > cmp.Or(d.takeover, claimTakeover) {
			expected = last
		}
		seen := s.nc.LastError()
		sequence, err := d.publishClaim(ctx, subject, expected)
		if err == nil {
			if expected != 0 {
				return []uint64{expected, sequence}, nil
			}
			return []uint64{sequence}, nil
		}
		api, ok := errors.AsType[*jetstream.APIError](err)
		taken := ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
		err = s.explain("claim a dead letter", seen, err)
		full := errors.Is(err, ErrStreamFull)
		if !taken && !full {
			return nil, err
		}
		m, found := dead.GetLastMsgForSubject(ctx, subject)
		switch {
		case errors.Is(found, jetstream.ErrMsgNotFound) && full:
			return nil, nil // it must be possible to make room
		case errors.Is(found, jetstream.ErrMsgNotFound) && ctx.Err() == nil:
			last = 0 // it was given back just now, maybe while this call was about to take it over
			continue
		case found != nil:
			return nil, s.explain("read a claim", seen, found)
		case m.Sequence != last:
			last, since = m.Sequence, time.Now()
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("jetstream: another process has the dead letter %s: %w", d.ID, ctx.Err())
		case <-time.After(claimPoll):
		}
	}
}

func (d *DeadLetter) publishClaim(ctx context.Context, subject string, expected uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	m := nats.NewMsg(subject)
	m.Header.Set(jetstream.ExpectedStreamHeader, d.stream.deadLetters().Name)
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(expected, 10))
	ack, err := d.stream.js.PublishMsg(ctx, m)
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}
