package jetstream

import "time"

// SetLease makes the time for which an event is set aside shorter.
func (c *Consumer) SetLease(lease, renew, guard time.Duration) {
	c.times.lease, c.times.renew, c.times.guard = lease, renew, guard
}

// SetClaimTakeover makes the time shorter after which another's claim is taken over.
func (d *DeadLetter) SetClaimTakeover(after time.Duration) { d.takeover = after }

// ClaimSubject is where the claim of the dead letter is.
func (d *DeadLetter) ClaimSubject() string { return d.stream.claimSubject(d.ID) }

// PutBack is what Redrive does before it deletes the dead letter.
var PutBack = (*DeadLetter).putBack
