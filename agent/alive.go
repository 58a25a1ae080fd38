package agent

import "context"

// Alive returns nil once the loop has taken a call: proof that it turns and
// does not hang in an act. A supervisor asks it before it says so to a watchdog.
func (a *Agent) Alive(ctx context.Context) error {
	return a.inLoop(ctx, func(context.Context) error { return nil })
}
