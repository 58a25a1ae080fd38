package control

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Commands of several operators that arrive at the same time, on every topic,
// each of them several times: each is acted on once, each answer carries the id
// of its own command, and a group's command does not hold up the box's own.
func TestInterleaved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		desk := newCounter()
		go desk.Run(ctx)
		verbs := []string{"check", "upgrade", "confirm", "reboot"} // those that change something
		var operators sync.WaitGroup
		for operator, verb := range verbs {
			operators.Go(func() {
				for range 3 { // the broker brings it again
					desk.Take(ctx, ownTopic, fmt.Appendf(nil, `{"v":1,"id":"own-%d","verb":%q}`, operator, verb))
				}
			})
		}
		for range 3 {
			operators.Go(func() { desk.Take(ctx, groupTopic, []byte(`{"v":1,"id":"group","verb":"upgrade"}`)) })
		}
		operators.Wait()
		answers := map[string]int{}
		for _, r := range desk.answered() {
			if answers[r.ID]++; !r.OK {
				t.Errorf("%s: %+v", r.ID, r)
			}
		}
		for operator := range verbs {
			if id := fmt.Sprintf("own-%d", operator); answers[id] != 3 {
				t.Errorf("%s was answered %d times, want as often as it came", id, answers[id])
			}
		}
		if n := desk.agent.count(); n != len(verbs) || answers["group"] != 0 {
			t.Errorf("acted %d times before the group's turn, answers %v", n, answers)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := desk.agent.count(); n != len(verbs)+1 {
			t.Errorf("acted %d times in all, want %d", n, len(verbs)+1)
		}
	})
}
