package simulation

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream"
)

// A natsServer is a model of a NATS server with JetStream, at the level of its protocol: nats.go talks to it over a net.Pipe. Streams and
// what consumers know are on its disk, and survive when it is away. A connection breaks as TCP does: what was sent before may still arrive,
// and the server may give events to a client that isn't there any more.
type natsServer struct {
	server
	streams map[string]*natsStream
	conns   map[*natsConn]bool
	stored  func(stream, event, id string)    // a message was stored, and wasn't a duplicate
	given   func(p *process, event string)    // an event was given to a worker
	broke   func(p *process, d time.Duration) // its connection broke, or stands still for so long
}

type natsStream struct {
	server    *natsServer
	name      string
	config    json.RawMessage
	parsed    streamConfig
	last      uint64
	msgs      map[uint64]*natsMsg
	ids       map[string]seenID
	consumers map[string]*natsConsumer
}

type streamConfig struct {
	Subjects   []string      `json:"subjects"`
	Retention  string        `json:"retention"`
	Duplicates time.Duration `json:"duplicate_window"`
	MaxMsgs    int64         `json:"max_msgs"`
}

type seenID struct {
	seq uint64
	at  time.Time
}

type natsMsg struct {
	seq             uint64
	subject, header string
	data            []byte
	at              time.Time
}

// event is the event's "__id", as the adapter writes it into a header.
func eventOf(header string) string { return headerOf(header, jetstream.HeaderID) }

func headerOf(header, name string) string {
	for line := range strings.SplitSeq(header, "\r\n") {
		if n, value, ok := strings.Cut(line, ":"); ok && n == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

type consumerConfig struct {
	AckWait    time.Duration `json:"ack_wait"`
	AckPolicy  string        `json:"ack_policy"`
	MaxDeliver int           `json:"max_deliver"`
	Filter     string        `json:"filter_subject"`
}

type natsConsumer struct {
	stream    *natsStream
	name      string
	config    json.RawMessage
	parsed    consumerConfig
	next      uint64 // in the stream
	delivered uint64
	pending   map[uint64]*natsPending
	redeliver []uint64
	waiting   []*natsPull
	timer     *time.Timer
}

type natsPending struct {
	count uint64
	due   time.Time
}

// A natsPull is a client's wish for messages.
type natsPull struct {
	conn  *natsConn
	inbox string
	left  int
	over  bool
	stop  []*time.Timer
}

func newNatsServer(w *world) *natsServer {
	return &natsServer{server: server{w: w, name: "nats"}, streams: map[string]*natsStream{}, conns: map[*natsConn]bool{},
		stored: func(string, string, string) {}, given: func(*process, string) {}, broke: func(*process, time.Duration) {}}
}

// A natsConn is a connection, seen from the server.
type natsConn struct {
	server *natsServer
	p      *process
	pipe   net.Conn
	subs   map[string]string // by sid: the subject
	gone   bool              // the client can't be reached any more
	known  bool              // and the server knows
	in     *queue[*frame]
	out    *queue[string]
}

// A frame is what a client sends.
type frame struct {
	op, subject, reply string
	header             string
	data               []byte
	args               []string
}

// A queue hands on what is put into it, in order, each at its time.
type queue[T any] struct {
	w     *world
	items []queued[T]
	wake  chan struct{}
	ended bool
}

type queued[T any] struct {
	what T
	due  time.Time
}

func newQueue[T any](w *world) *queue[T] { return &queue[T]{w: w, wake: make(chan struct{}, 1)} }

// put is called with the server's lock.
func (q *queue[T]) put(what T, after time.Duration) {
	due := time.Now().Add(after)
	if n := len(q.items); n > 0 && !due.After(q.items[n-1].due) {
		due = q.items[n-1].due.Add(time.Nanosecond)
	}
	q.items = append(q.items, queued[T]{what, due})
	q.kick()
}

func (q *queue[T]) end() {
	q.ended = true
	q.kick()
}

func (q *queue[T]) kick() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// run hands on until the queue is ended and empty.
func (q *queue[T]) run(s *natsServer, do func(T)) {
	for {
		s.mu.Lock()
		if len(q.items) == 0 {
			ended := q.ended
			s.mu.Unlock()
			if ended {
				return
			}
			<-q.wake
			continue
		}
		first := q.items[0]
		s.mu.Unlock()
		if d := time.Until(first.due); d > 0 {
			time.Sleep(d)
		}
		do(first.what)
		s.mu.Lock()
		q.items = q.items[1:]
		s.mu.Unlock()
	}
}

// Dial implements nats.CustomDialer.
type natsDialer struct {
	server *natsServer
	p      *process
}

func (d natsDialer) Dial(string, string) (net.Conn, error) {
	s, p := d.server, d.p
	r := s.w.drawNext("dial", p.name)
	if !p.step(r, "before it connects to NATS") {
		return nil, errGone
	}
	if s.w.happens(r, "request lost", s.w.rates.lostBefore) || s.isDown() {
		return nil, errors.New("simulation: connection refused")
	}
	client, pipe := net.Pipe()
	c := &natsConn{server: s, p: p, pipe: pipe, subs: map[string]string{}, in: newQueue[*frame](s.w), out: newQueue[string](s.w)}
	s.mu.Lock()
	s.conns[c] = true
	c.out.put(`INFO {"server_id":"MODEL","server_name":"model","version":"2.11.0","proto":1,"headers":true,"max_payload":1048576,"jetstream":true}`+"\r\n", 0)
	s.mu.Unlock()
	go c.read()
	go c.in.run(s, c.handle)
	go c.out.run(s, func(text string) { _, _ = io.WriteString(pipe, text) })
	go func() {
		select {
		case <-p.gone:
			c.breaks("")
		case <-s.w.over:
		}
	}()
	return client, nil
}

// connect connects as a program does.
func (s *natsServer) connect(p *process) (*nats.Conn, error) {
	return jetstream.Connect("nats://192.0.2.1:4222", nats.SetCustomDialer(natsDialer{s, p}), nats.ReconnectJitter(0, 0), nats.NoCallbacksAfterClientClose(),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
}

// read reads what the client sends, as fast as it comes.
func (c *natsConn) read() {
	r := bufio.NewReader(c.pipe)
	defer func() {
		c.server.mu.Lock()
		c.in.end()
		c.server.mu.Unlock()
		c.breaks("")
	}()
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		f := &frame{op: words[0], args: words[1:]}
		if f.op == "PUB" || f.op == "HPUB" {
			sizes := 1
			if f.op == "HPUB" {
				sizes = 2
			}
			f.subject = f.args[0]
			if len(f.args) > 1+sizes {
				f.reply = f.args[1]
			}
			total, _ := strconv.Atoi(f.args[len(f.args)-1])
			body := make([]byte, total+2)
			if _, err := io.ReadFull(r, body); err != nil {
				return
			}
			f.data = body[:total]
			if f.op == "HPUB" {
				n, _ := strconv.Atoi(f.args[len(f.args)-2])
				f.header, f.data = string(body[:n]), body[n:total]
			}
		}
		c.arrive(f)
	}
}

// arrive decides how long the frame travels, and what goes wrong with it.
func (c *natsConn) arrive(f *frame) {
	s, w := c.server, c.server.w
	label := c.label(f)
	if label == "" {
		s.mu.Lock()
		c.in.put(f, between(w.drawNext("nats small", c.p.name), 50*time.Microsecond, 150*time.Microsecond))
		s.mu.Unlock()
		return
	}
	r := w.drawNext("nats", c.p.name, label)
	travel := between(r, 100*time.Microsecond, 2*time.Millisecond)
	if w.happens(r, "slow", w.rates.slow/2) {
		travel = between(r, time.Second, 60*time.Second)
		s.broke(c.p, travel+40*time.Second)
		w.say(c.p.name, "%s: the connection STANDS STILL for %v", label, travel)
	}
	s.mu.Lock()
	c.in.put(f, travel)
	s.mu.Unlock()
}

// label is what the frame is about, and "" for what is about no event.
func (c *natsConn) label(f *frame) string {
	if f.op != "PUB" && f.op != "HPUB" {
		return ""
	}
	switch {
	case strings.HasPrefix(f.subject, "$JS.ACK."):
		word, _, _ := strings.Cut(string(f.data), " ")
		return cmp.Or(word, "+ACK") + " " + c.server.acked(f.subject)
	case strings.Contains(f.subject, ".CONSUMER.MSG.NEXT."):
		return ""
	case strings.HasPrefix(f.subject, "$JS.API."):
		return strings.TrimPrefix(f.subject, "$JS.API.")
	}
	return "publish " + f.subject[:strings.IndexByte(f.subject+".", '.')] + " " + eventOf(f.header)
}

// acked is the event that an acknowledgement is about.
func (s *natsServer) acked(subject string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := strings.Split(subject, ".")
	if len(t) != 9 || s.streams[t[2]] == nil {
		return "?"
	}
	seq, _ := strconv.ParseUint(t[5], 10, 64)
	if m := s.streams[t[2]].msgs[seq]; m != nil {
		return eventOf(m.header)
	}
	return "#" + t[5]
}

// handle does what a frame wants.
func (c *natsConn) handle(f *frame) {
	s, w := c.server, c.server.w
	label := c.label(f)
	if w.isOver() {
		label = ""
	}
	lost := false
	if label != "" {
		r := w.drawNext("nats handle", c.p.name, label)
		if !c.p.step(r, "before "+label+" arrives") && w.happens(r, "request lost", 0.5) { // what a process sent before it died may arrive or not
			return
		}
		if s.isDown() || w.happens(r, "request lost", w.rates.lostBefore/2) {
			w.say(c.p.name, "%s: REQUEST LOST", label)
			c.breaks("")
			return
		}
		if lost = w.happens(r, "answer lost", w.rates.lostAfter/2); lost {
			c.breaks("after " + label)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := w.mutant; m != nil && m.wire != nil {
		if answer, done := m.wire(f); done {
			if answer != "" && f.reply != "" {
				c.send(f.reply, f.reply, "", "", answer)
			}
			return
		}
	}
	switch f.op {
	case "PING":
		c.out.put("PONG\r\n", 50*time.Microsecond)
	case "SUB":
		c.subs[f.args[len(f.args)-1]] = f.args[0]
	case "UNSUB":
		if len(f.args) == 1 {
			delete(c.subs, f.args[0])
		}
	case "PUB", "HPUB":
		answer := s.publish(c, f)
		if label != "" && !strings.HasPrefix(label, "STREAM.INFO") && !strings.HasPrefix(label, "CONSUMER.INFO") {
			text := cmp.Or(answer, "ok")
			if !strings.Contains(text, `"seq"`) && !strings.Contains(text, `"error"`) || strings.HasPrefix(text, `{"message"`) {
				text = "ok" // what it says is long
			}
			w.say(c.p.name, "%s: %s", label, text)
		}
		if answer != "" && f.reply != "" {
			c.send(f.reply, f.reply, "", "", answer)
		}
	}
}

// breaks ends the connection. The server learns of it some time later, and gives events to nobody until then.
func (c *natsConn) breaks(why string) {
	s := c.server
	s.mu.Lock()
	if c.gone {
		s.mu.Unlock()
		return
	}
	c.gone = true
	c.out.end()
	s.mu.Unlock()
	if why != "" {
		s.w.say(c.p.name, "its connection to NATS BREAKS %s", why)
	}
	if !s.w.isOver() {
		s.broke(c.p, 40*time.Second)
	}
	_ = c.pipe.Close()
	go func() {
		s.w.sleep(between(s.w.drawNext("nats learns", c.p.name), time.Millisecond, 5*time.Second))
		s.mu.Lock()
		defer s.mu.Unlock()
		c.known = true
		delete(s.conns, c)
		for _, stream := range s.streams {
			for _, consumer := range stream.consumers {
				for _, pull := range slices.Clone(consumer.waiting) {
					if pull.conn == c {
						pull.end()
					}
				}
			}
		}
	}()
}

// send sends a message to whom it may concern on this connection. The lock is held.
func (c *natsConn) send(inbox, subject, reply, header, body string) {
	if c.gone {
		return
	}
	for sid, pattern := range c.subs {
		if !fits(pattern, inbox) {
			continue
		}
		var text string
		if header == "" {
			text = fmt.Sprintf("MSG %s %s %s %d\r\n%s\r\n", subject, sid, reply, len(body), body)
		} else {
			text = fmt.Sprintf("HMSG %s %s %s %d %d\r\n%s%s\r\n", subject, sid, reply, len(header), len(header)+len(body), header, body)
		}
		to, _, _ := strings.Cut(inbox, ".") // the rest of it is random
		if subject != inbox {
			to = subject
		}
		c.out.put(text, between(c.server.w.drawNext("nats answers", c.p.name, to, fmt.Sprint(len(body))), 100*time.Microsecond, 2*time.Millisecond))
	}
}

// fits reports whether a subject fits a pattern.
func fits(pattern, subject string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i, t := range p {
		switch {
		case t == ">":
			return len(s) > i
		case i >= len(s), t != "*" && t != s[i]:
			return false
		}
	}
	return len(p) == len(s)
}

func apiError(code, errCode int, text string) string {
	return fmt.Sprintf(`{"error":{"code":%d,"err_code":%d,"description":%q}}`, code, errCode, text)
}

func answerOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// publish is for any message. It returns what is answered.
func (s *natsServer) publish(c *natsConn, f *frame) string {
	if strings.HasPrefix(f.subject, "$JS.ACK.") {
		s.ack(f)
		return ""
	}
	if api, ok := strings.CutPrefix(f.subject, "$JS.API."); ok {
		return s.api(c, f, api)
	}
	for _, stream := range s.streams {
		for _, subject := range stream.parsed.Subjects {
			if fits(subject, f.subject) {
				return stream.store(f)
			}
		}
	}
	return ""
}

func (st *natsStream) store(f *frame) string {
	want := headerOf(f.header, "Nats-Expected-Stream")
	if want != "" && want != st.name {
		return apiError(400, 10060, "expected stream does not match")
	}
	id, now := headerOf(f.header, "Nats-Msg-Id"), time.Now()
	if seen, ok := st.ids[id]; ok && id != "" && now.Sub(seen.at) < st.parsed.Duplicates {
		return fmt.Sprintf(`{"stream":%q,"seq":%d,"duplicate":true}`, st.name, seen.seq)
	}
	if text := headerOf(f.header, "Nats-Expected-Last-Subject-Sequence"); text != "" {
		want, _ := strconv.ParseUint(text, 10, 64)
		var have uint64
		for seq, m := range st.msgs {
			if m.subject == f.subject {
				have = max(have, seq)
			}
		}
		if have != want {
			return apiError(400, 10071, fmt.Sprintf("wrong last sequence: %d", have))
		}
	}
	if st.parsed.MaxMsgs > 0 && int64(len(st.msgs)) >= st.parsed.MaxMsgs {
		return apiError(503, 10077, "maximum messages exceeded")
	}
	st.last++
	st.msgs[st.last] = &natsMsg{st.last, f.subject, f.header, slices.Clone(f.data), now}
	if id != "" {
		st.ids[id] = seenID{st.last, now}
	}
	st.server.stored(st.name, eventOf(f.header), id)
	for _, consumer := range st.consumers {
		consumer.pump()
	}
	return fmt.Sprintf(`{"stream":%q,"seq":%d}`, st.name, st.last)
}

func (st *natsStream) info() map[string]any {
	first, subjects := uint64(0), map[string]uint64{}
	for seq, m := range st.msgs {
		if first == 0 || seq < first {
			first = seq
		}
		subjects[m.subject]++
	}
	if first == 0 {
		first = st.last + 1
	}
	return map[string]any{"config": st.config, "created": st.server.w.began, "state": map[string]any{"messages": len(st.msgs), "first_seq": first,
		"last_seq": st.last, "consumer_count": len(st.consumers), "subjects": subjects}}
}

// api is JetStream's own.
func (s *natsServer) api(c *natsConn, f *frame, call string) string {
	words := strings.Split(call, ".")
	name := words[len(words)-1]
	if words[0] == "CONSUMER" {
		if name = words[2]; words[1] == "MSG" {
			name = words[3]
		}
	}
	stream := s.streams[name]
	if stream == nil && call != "STREAM.CREATE."+name {
		return apiError(404, 10059, "stream not found")
	}
	switch words[0] + "." + words[1] {
	case "STREAM.CREATE":
		if stream != nil {
			return apiError(400, 10058, "stream name already in use with a different configuration")
		}
		stream = &natsStream{server: s, name: name, config: f.data, msgs: map[uint64]*natsMsg{}, ids: map[string]seenID{}, consumers: map[string]*natsConsumer{}}
		if err := json.Unmarshal(f.data, &stream.parsed); err != nil {
			return apiError(400, 10025, err.Error())
		}
		s.streams[name] = stream
		return answerOf(stream.info())
	case "STREAM.INFO":
		return answerOf(stream.info())
	case "STREAM.DELETE":
		delete(s.streams, name)
		return `{"success":true}`
	case "STREAM.MSG":
		return stream.message(words[2], f.data)
	case "CONSUMER.MSG":
		if consumer := stream.consumers[words[4]]; consumer != nil {
			consumer.pull(c, f)
		}
		return ""
	}
	consumer := stream.consumers[words[3]]
	switch words[1] {
	case "CREATE":
		var request struct {
			Config json.RawMessage `json:"config"`
			Action string          `json:"action"`
		}
		if err := json.Unmarshal(f.data, &request); err != nil {
			return apiError(400, 10025, err.Error())
		}
		switch {
		case consumer == nil && request.Action == "update":
			return apiError(400, 10149, "consumer does not exist")
		case consumer == nil:
			consumer = &natsConsumer{stream: stream, name: words[3], next: 1, pending: map[uint64]*natsPending{}}
			stream.consumers[consumer.name] = consumer
		case request.Action == "create" && string(consumer.config) != string(request.Config):
			return apiError(400, 10148, "consumer already exists")
		}
		consumer.config, consumer.parsed = request.Config, consumerConfig{}
		if err := json.Unmarshal(request.Config, &consumer.parsed); err != nil {
			return apiError(400, 10025, err.Error())
		}
		if m := s.w.mutant; m != nil && m.consumer != nil {
			m.consumer(&consumer.parsed)
		}
		consumer.pump()
	case "INFO":
		if consumer == nil {
			return apiError(404, 10014, "consumer not found")
		}
	default:
		return apiError(400, 10025, "the model doesn't know "+call)
	}
	return answerOf(map[string]any{"stream_name": stream.name, "name": consumer.name, "created": s.w.began, "config": consumer.config,
		"num_ack_pending": len(consumer.pending), "num_waiting": len(consumer.waiting), "num_pending": consumer.left(), "ts": time.Now()})
}

// message reads or deletes a message.
func (st *natsStream) message(call string, data []byte) string {
	var request struct {
		Seq     uint64 `json:"seq"`
		Last    string `json:"last_by_subj"`
		Subject string `json:"next_by_subj"`
	}
	if err := json.Unmarshal(data, &request); err != nil {
		return apiError(400, 10025, err.Error())
	}
	var found *natsMsg
	for seq, m := range st.msgs {
		switch {
		case request.Last != "":
			if m.subject == request.Last && (found == nil || seq > found.seq) {
				found = m
			}
		case request.Subject != "":
			if seq >= request.Seq && fits(request.Subject, m.subject) && (found == nil || seq < found.seq) {
				found = m
			}
		case seq == request.Seq:
			found = m
		}
	}
	if found == nil {
		return apiError(404, 10037, "no message found")
	}
	if call == "DELETE" {
		delete(st.msgs, found.seq)
		return `{"success":true}`
	}
	return answerOf(map[string]any{"message": map[string]any{"subject": found.subject, "seq": found.seq, "hdrs": []byte(found.header), "data": found.data, "time": found.at.UTC()}})
}

// left counts what the consumer hasn't looked at.
func (co *natsConsumer) left() int {
	n := 0
	for seq, m := range co.stream.msgs {
		if seq >= co.next && (co.parsed.Filter == "" || fits(co.parsed.Filter, m.subject)) {
			n++
		}
	}
	return n
}

// pull is a client's wish.
func (co *natsConsumer) pull(c *natsConn, f *frame) {
	var request struct {
		Batch     int           `json:"batch"`
		Expires   time.Duration `json:"expires"`
		Heartbeat time.Duration `json:"idle_heartbeat"`
		NoWait    bool          `json:"no_wait"`
	}
	_ = json.Unmarshal(f.data, &request)
	p := &natsPull{conn: c, inbox: f.reply, left: max(request.Batch, 1)}
	co.waiting = append(co.waiting, p)
	co.pump()
	s := co.stream.server
	locked := func(do func()) func() {
		return func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if !p.over {
				do()
			}
		}
	}
	switch {
	case p.over:
	case request.NoWait:
		c.send(p.inbox, p.inbox, "", "NATS/1.0 404 No Messages\r\n\r\n", "")
		p.end()
	default:
		if request.Heartbeat > 0 {
			var beat *time.Timer
			beat = time.AfterFunc(request.Heartbeat, locked(func() {
				c.send(p.inbox, p.inbox, "", "NATS/1.0 100 Idle Heartbeat\r\n\r\n", "")
				beat.Reset(request.Heartbeat)
			}))
			p.stop = append(p.stop, beat)
		}
		if request.Expires > 0 {
			p.stop = append(p.stop, time.AfterFunc(request.Expires-time.Millisecond, locked(func() {
				c.send(p.inbox, p.inbox, "", fmt.Sprintf("NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: %d\r\nNats-Pending-Bytes: 0\r\n\r\n", p.left), "")
				p.end()
			})))
		}
	}
}

func (p *natsPull) end() {
	p.over = true
	for _, timer := range p.stop {
		timer.Stop()
	}
}

// pump gives messages to those who wait: what is to be delivered again first. The lock is held.
func (co *natsConsumer) pump() {
	defer co.arm()
	for {
		co.waiting = slices.DeleteFunc(co.waiting, func(p *natsPull) bool { return p.over || !p.conn.gone && !p.conn.wants(p.inbox) })
		if len(co.waiting) == 0 {
			return
		}
		m := co.take()
		if m == nil {
			return
		}
		p := co.waiting[0]
		pend := co.pending[m.seq]
		if pend == nil {
			pend = &natsPending{}
		}
		pend.count++
		pend.due = time.Now().Add(cmp.Or(co.parsed.AckWait, 30*time.Second))
		co.delivered++
		if co.parsed.AckPolicy == "none" {
			co.settle(m.seq)
		} else {
			co.pending[m.seq] = pend
		}
		reply := fmt.Sprintf("$JS.ACK.%s.%s.%d.%d.%d.%d.%d", co.stream.name, co.name, pend.count, m.seq, co.delivered, m.at.UnixNano(), co.left())
		s := co.stream.server
		s.w.say(p.conn.p.name, "is given %s, delivery %d", eventOf(m.header), pend.count)
		s.given(p.conn.p, eventOf(m.header))
		p.conn.send(p.inbox, m.subject, reply, m.header, string(m.data))
		if p.left--; p.left == 0 {
			p.end()
		}
	}
}

func (c *natsConn) wants(inbox string) bool {
	for _, pattern := range c.subs {
		if fits(pattern, inbox) {
			return true
		}
	}
	return false
}

// take returns the next message for the consumer.
func (co *natsConsumer) take() *natsMsg {
	for len(co.redeliver) > 0 {
		seq := co.redeliver[0]
		co.redeliver = co.redeliver[1:]
		pend, m := co.pending[seq], co.stream.msgs[seq]
		switch {
		case pend == nil || m == nil:
		case co.parsed.MaxDeliver > 0 && pend.count >= uint64(co.parsed.MaxDeliver):
			delete(co.pending, seq)
		default:
			return m
		}
	}
	for co.next <= co.stream.last {
		m := co.stream.msgs[co.next]
		co.next++
		if m != nil && (co.parsed.Filter == "" || fits(co.parsed.Filter, m.subject)) {
			return m
		}
	}
	return nil
}

// arm sets the timer for what is due first.
func (co *natsConsumer) arm() {
	if co.timer != nil {
		co.timer.Stop()
	}
	var first time.Time
	for seq, pend := range co.pending {
		if !slices.Contains(co.redeliver, seq) && (first.IsZero() || pend.due.Before(first)) {
			first = pend.due
		}
	}
	if first.IsZero() || co.stream.server.w.isOver() {
		return
	}
	co.timer = time.AfterFunc(time.Until(first), func() {
		co.stream.server.mu.Lock()
		defer co.stream.server.mu.Unlock()
		var due []uint64
		for seq, pend := range co.pending {
			if !pend.due.After(time.Now()) && !slices.Contains(co.redeliver, seq) {
				due = append(due, seq)
			}
		}
		slices.Sort(due)
		co.redeliver = append(co.redeliver, due...)
		co.pump()
	})
}

// settle is the end of a message for the consumer, and in a work queue its own.
func (co *natsConsumer) settle(seq uint64) {
	delete(co.pending, seq)
	if co.stream.parsed.Retention == "workqueue" {
		delete(co.stream.msgs, seq)
	}
}

// ack is an acknowledgement of any kind.
func (s *natsServer) ack(f *frame) {
	t := strings.Split(f.subject, ".")
	if len(t) != 9 || s.streams[t[2]] == nil {
		return
	}
	co := s.streams[t[2]].consumers[t[3]]
	seq, _ := strconv.ParseUint(t[5], 10, 64)
	if co == nil || co.pending[seq] == nil {
		return
	}
	pend, now := co.pending[seq], time.Now()
	switch word, rest, _ := strings.Cut(string(f.data), " "); word {
	case "", "+ACK", "+TERM":
		co.settle(seq)
		for other := range co.pending {
			if co.parsed.AckPolicy == "all" && other < seq {
				co.settle(other)
			}
		}
	case "+WPI":
		pend.due = now.Add(cmp.Or(co.parsed.AckWait, 30*time.Second))
	case "-NAK":
		var nak struct {
			Delay time.Duration `json:"delay"`
		}
		_ = json.Unmarshal([]byte(rest), &nak)
		if nak.Delay > 0 {
			co.redeliver = slices.DeleteFunc(co.redeliver, func(other uint64) bool { return other == seq })
			pend.due = now.Add(withoutJitter(nak.Delay))
		} else if !slices.Contains(co.redeliver, seq) {
			co.redeliver = append(co.redeliver, seq)
		}
	}
	co.pump()
}

// withoutJitter takes the chance out of a back-off of our own, 1 s, 2 s, 4 s and so on and up to a fifth more: a seed must give the same
// history each time.
func withoutJitter(d time.Duration) time.Duration {
	for base := time.Second; base < 5*time.Minute; base *= 2 {
		if d >= base && d < base+base/5 {
			return base
		}
	}
	return d
}
