package control

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"otad/ota"
	"otad/ota/durable"
)

// Once remembers the ids of commands acted on, across restarts.
type Once interface {
	// First returns true the first time it is called with id, and false
	// later. It is durable before it returns.
	First(id string) (bool, error)
}

// Bounds of what a broker, or whoever broke into it, can make a box do.
const (
	burst       = 30              // commands that are read at once,
	refill      = 2 * time.Second // and one more each time after that
	ordinary    = 512             // bytes of a command that is looked at when there are too many
	maxAnswers  = 16              // results that are remembered
	maxAnswer   = 4 << 10         // and the data of each, in bytes
	complainGap = time.Minute     // between two log lines about what is not followed
)

// Desk takes the commands that come over a broker: each is followed once, in
// the order of arrival, by the rules of docs/mqtt.md. A command for a group
// that makes boxes ask the server waits for the box's own share of a time, one
// of a verb at most; it waits in a file, because the broker has let go of it.
type Desk struct {
	Verbs  Verbs
	Once   Once
	Now    func() time.Time // the box's best clock
	Answer func(Result)     // must not block for long
	Log    *slog.Logger
	Own    string        // the topic of commands for this box alone
	Device string        // decides which share of Spread is the box's own
	Spread time.Duration // over which a group's boxes follow; 0 for at once
	Keys   CommandKeys
	File   string // where commands wait; "" for memory only

	mu       sync.Mutex // held while a command is followed: one at a time
	waiting  []waiting  // one of a verb
	wake     chan struct{}
	answered []Result // the latest ones, to repeat
	tokens   int
	filled   time.Time // when tokens were counted
	unheeded complaint
}

// Open reads the commands that waited when otad ended.
func (d *Desk) Open() {
	d.wake, d.tokens, d.filled = make(chan struct{}, 1), burst, time.Now()
	if d.File == "" {
		return
	}
	list, err := readWaiting(durable.OS, d.File)
	if err != nil {
		d.Log.Warn("the commands that waited are lost", "cause", err)
	}
	d.waiting = list
}

// Take reads the payload of a message on topic and follows the command in it,
// or lets it wait. It returns when that is done.
func (d *Desk) Take(ctx context.Context, topic string, payload []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.afford() {
		id, verb := "", ""
		if len(payload) <= ordinary {
			id, verb = salvage(payload)
		}
		d.refuse(Command{ID: id, Verb: verb}, ota.NewRefused(ota.CodeRateLimited, errTooMany))
		return
	}
	c, err := d.Keys.read(topic, payload, d.Now())
	if err != nil {
		d.refuse(c, err)
		return
	}
	if i := slices.IndexFunc(d.answered, func(r Result) bool { return r.ID == c.ID }); i >= 0 {
		d.Answer(d.answered[i]) // the sender did not get it, or the broker brings the command again
		return
	}
	if at := d.turn(topic, c); at.After(d.Now()) {
		d.wait(c, at)
		return
	}
	d.follow(ctx, c)
}

// Rest returns when no command is being followed, so that all that were are
// answered, or when ctx ends.
func (d *Desk) Rest(ctx context.Context) {
	rested := make(chan struct{})
	go func() {
		defer close(rested)
		d.mu.Lock()
		defer d.mu.Unlock()
	}()
	select {
	case <-rested:
	case <-ctx.Done():
	}
}

// Run follows the commands that waited, when their time comes, until ctx ends.
func (d *Desk) Run(ctx context.Context) {
	for {
		timer := time.NewTimer(d.followDue(ctx))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-d.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// follow acts on a command and answers it.
func (d *Desk) follow(ctx context.Context, c Command) {
	if err := c.inTime(d.Now()); err != nil {
		d.refuse(c, err)
		return
	}
	if !looking[c.Verb] {
		first, err := d.Once.First(c.ID)
		if err != nil {
			d.refuse(c, err)
			return
		}
		if !first {
			return // followed before the last restart
		}
	}
	dropped := 0
	if c.Verb == Cancel {
		dropped = d.dropWaiting(c.ID)
	}
	reply := Answer(ctx, d.Verbs, c.request())
	if dropped > 0 && reply.Code == ota.CodeNothing {
		reply = Answer(ctx, d.Verbs, Request{V: Version, Verb: Status}) // what waited was all there was
	}
	d.Log.Info("command", "id", c.ID, "verb", c.Verb, "ok", reply.OK, "code", reply.Code)
	d.answer(c, reply)
}

func (d *Desk) answer(c Command, reply Reply) {
	r := Result{ID: c.ID, Verb: c.Verb, Time: d.Now(), Reply: reply}
	d.Answer(r)
	if looking[c.Verb] {
		return
	}
	if len(r.Data) > maxAnswer {
		r.Data = nil
	}
	d.answered = append(d.answered, r)
	d.answered = d.answered[max(0, len(d.answered)-maxAnswers):]
}

// refuse answers a command that is not followed, if there is somebody to
// answer to.
func (d *Desk) refuse(c Command, err error) {
	d.unheeded.note(d.Log, ota.FaultOf(err), c)
	if auditor, ok := d.Verbs.(Auditor); ok && remote[c.Verb] && !looking[c.Verb] {
		auditor.Audit(c.request(), err)
	}
	if c.ID != "" && len(c.ID) <= maxID {
		d.Answer(Result{ID: c.ID, Verb: c.Verb, Time: d.Now(), Reply: refusal(err)})
	}
}

// afford tells whether another command may be read now.
func (d *Desk) afford() bool {
	if more := int(time.Since(d.filled) / refill); more > 0 {
		d.tokens, d.filled = min(burst, d.tokens+more), d.filled.Add(time.Duration(more)*refill)
	}
	if d.tokens == 0 {
		return false
	}
	d.tokens--
	return true
}

// complaint is a log line about commands that are not followed, now and then:
// a flood of commands is no flood of lines.
type complaint struct {
	count int
	last  time.Time
}

func (c *complaint) note(log *slog.Logger, f *ota.Fault, about Command) {
	c.count++
	if now := time.Now(); c.last.IsZero() || now.Sub(c.last) >= complainGap {
		log.Warn("commands are not followed", "count", c.count, "id", printable(about.ID), "code", f.Code, "cause", f)
		c.last, c.count = now, 0
	}
}
