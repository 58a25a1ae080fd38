package uboot

import (
	"fmt"
	"slices"
	"strconv"

	"otad/board"
)

// bootCount speaks with U-Boot's boot counting (CONFIG_BOOTCOUNT_LIMIT with
// the count in the environment), or with a script that does the same, as the
// integrations of SWUpdate and Mender use it. There are exactly two slots:
// altbootcmd goes to the other one.
//
// While upgrade_available is 1, the slot in the variable is on trial and the
// other one is the permanent choice.
type bootCount struct {
	slots    [2]string
	variable string // the integrator's name of the slot variable
	tries    int    // 0: what the environment says, or DefaultTries
}

func (c bootCount) other(slot string) string {
	if slot == c.slots[0] {
		return c.slots[1]
	}
	return c.slots[0]
}

// chosen returns the slot that is named in the environment, and whether it is
// only on trial.
func (c bootCount) chosen(env variables) (slot string, armed bool, err error) {
	slot, _ = env.get(c.variable)
	if slot != c.slots[0] && slot != c.slots[1] {
		return "", false, fmt.Errorf("%w: %s is %q, which is no slot", board.ErrEnvironment, c.variable, slot)
	}
	available, _ := env.get("upgrade_available")
	return slot, available == "1", nil
}

func (c bootCount) permanent(env variables) (string, error) {
	slot, armed, err := c.chosen(env)
	if armed {
		slot = c.other(slot)
	}
	return slot, err
}

// number reads a decimal variable, 0 when it is not there: as U-Boot does.
func number(env variables, name string) (int, error) {
	text, ok := env.get(name)
	if !ok || text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%w: %s is %q", board.ErrEnvironment, name, text)
	}
	return int(n), nil
}

func (c bootCount) boot(env variables, running string) (board.Boot, error) {
	slot, armed, err := c.chosen(env)
	if err != nil {
		return board.Boot{}, err
	}
	b := board.Boot{Slot: running, Trial: slot != running, Next: slot}
	if !armed {
		return b, nil
	}
	b.Trial = slot == running
	count, err := number(env, "bootcount")
	if err != nil {
		return b, err
	}
	limit, err := number(env, "bootlimit")
	switch {
	case limit == 0: // no limit: it is tried for ever
	case count < limit:
		b.Fallback = c.other(slot)
	default:
		b.Next = c.other(slot)
	}
	return b, err
}

// choose writes the slot, in the form <variable>_hex, too, if there is such a
// one: Mender's scripts load the kernel by mender_boot_part_hex.
func (c bootCount) choose(env *variables, slot string, trial bool) {
	env.set(c.variable, slot)
	if _, ok := env.get(c.variable + "_hex"); ok {
		text := slot
		if n, err := strconv.Atoi(slot); err == nil {
			text = strconv.FormatInt(int64(n), 16)
		}
		env.set(c.variable+"_hex", text)
	}
	available := "0"
	if trial {
		available = "1"
	}
	env.set("upgrade_available", available)
	env.set("bootcount", "0")
}

// markUnbootable needs no mark: without an update the script starts the
// permanent slot only. It undoes arming.
func (c bootCount) markUnbootable(env *variables, running, slot string) error {
	permanent, err := c.permanent(*env)
	if err != nil || permanent == slot {
		return orNoFallback(err)
	}
	if _, armed, _ := c.chosen(*env); armed {
		c.choose(env, permanent, false)
	}
	return nil
}

func (c bootCount) arm(env *variables, running, slot string) error {
	// A slot that may be given up is nothing to fall back to.
	if permanent, err := c.permanent(*env); err != nil || permanent != running {
		return orNoFallback(err)
	}
	limit, err := number(*env, "bootlimit")
	if err != nil || limit == 0 {
		limit = DefaultTries
	}
	if c.tries > 0 {
		limit = c.tries
	}
	c.choose(env, slot, true)
	env.set("bootlimit", strconv.Itoa(limit))
	return nil
}

func (c bootCount) sets(name, _, _ string) bool {
	return slices.Contains([]string{c.variable, c.variable + "_hex", "upgrade_available", "bootcount", "bootlimit"}, name)
}

func (c bootCount) confirm(env *variables, running string) error {
	if permanent, err := c.permanent(*env); err != nil || permanent == running {
		return err // confirmed already: an armed slot stays armed
	}
	c.choose(env, running, false)
	return nil
}

func (c bootCount) reject(env *variables, running string) error {
	permanent, err := c.permanent(*env)
	if err != nil || permanent == running {
		return orNoFallback(err)
	}
	c.choose(env, permanent, false)
	return nil
}

// cameUp has nothing to do: a confirmed slot is not counted.
func (c bootCount) cameUp(*variables, string) error { return nil }
