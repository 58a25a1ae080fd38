package uboot

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"otad/board"
)

const (
	orderVariable = "BOOT_ORDER"
	// trialVariable is ours: RAUC's script has no notion of a slot that is not
	// confirmed yet. U-Boot saves it with all the others.
	trialVariable = "otad_trial"
)

// bootOrder speaks with RAUC's boot script. It starts the first slot of
// BOOT_ORDER that has tries left and takes one away, from a confirmed slot,
// too, so that otad gives them back once a boot. With no tries left anywhere it
// gives all slots of the order new ones: a slot that must not be started is
// therefore taken out of the order, which is what RAUC does as well.
type bootOrder struct {
	slots []string
	tries int
}

func leftVariable(slot string) string { return "BOOT_" + slot + "_LEFT" }

// order lists the slots of the order, those that otad does not know included.
// Without the variable the script has its default, in which we trust.
func (o bootOrder) order(env variables) []string {
	if text, ok := env.get(orderVariable); ok {
		return strings.Fields(text)
	}
	return slices.Clone(o.slots)
}

// left returns how often slot may still be started. The script counts in
// hexadecimal, and gives a slot without the variable its full number.
func (o bootOrder) left(env variables, slot string) (int, error) {
	text, ok := env.get(leftVariable(slot))
	if !ok || text == "" {
		return o.tries, nil
	}
	n, err := strconv.ParseUint(text, 16, 31)
	if err != nil {
		return 0, fmt.Errorf("%w: %s is %q", board.ErrEnvironment, leftVariable(slot), text)
	}
	return int(n), nil
}

func (o bootOrder) setLeft(env *variables, slot string, n int) {
	if now, err := o.left(*env, slot); err != nil || now != n {
		env.set(leftVariable(slot), strconv.FormatInt(int64(n), 16))
	}
}

// first is the first known slot of the order with tries left, but for except;
// running counts as having some, since it was started. "" when there is none.
func (o bootOrder) first(env variables, except, running string) (string, error) {
	for _, slot := range o.order(env) {
		if slot == except || !slices.Contains(o.slots, slot) {
			continue
		}
		if left, err := o.left(env, slot); err != nil || left > 0 || slot == running {
			return slot, err
		}
	}
	return "", nil
}

// onTrial: the running slot was armed and never confirmed, or the script would
// prefer another one if it could choose freely.
func (o bootOrder) onTrial(env variables, running string) (bool, error) {
	trial, _ := env.get(trialVariable)
	permanent, err := o.first(env, trial, running)
	return trial == running || permanent != running, err
}

func (o bootOrder) boot(env variables, running string) (board.Boot, error) {
	b := board.Boot{Slot: running}
	var err error
	if b.Trial, err = o.onTrial(env, running); err != nil {
		return b, err
	}
	if b.Next, err = o.first(env, "", ""); err != nil {
		return b, err
	}
	if b.Next == "" { // the script gives all of them new tries
		fresh := bootOrder{slots: o.slots, tries: o.tries}
		if b.Next, err = fresh.first(variables{orderVariable + "=" + strings.Join(o.order(env), " ")}, "", ""); err != nil || b.Next == "" {
			return b, fmt.Errorf("%w: %s names no slot", board.ErrEnvironment, orderVariable)
		}
		return b, nil
	}
	// A confirmed slot gets its tries back at each boot and needs no fallback.
	if trial, _ := env.get(trialVariable); trial == b.Next {
		b.Fallback, err = o.first(env, trial, "")
	}
	return b, err
}

// place puts slots at the head of the order.
func (o bootOrder) place(env *variables, head ...string) {
	rest := slices.DeleteFunc(o.order(*env), func(s string) bool { return slices.Contains(head, s) })
	env.set(orderVariable, strings.Join(append(head, rest...), " "))
}

func (o bootOrder) remove(env *variables, slot string) {
	rest := slices.DeleteFunc(o.order(*env), func(s string) bool { return s == slot })
	env.set(orderVariable, strings.Join(rest, " "))
	o.setLeft(env, slot, 0)
}

func (o bootOrder) markUnbootable(env *variables, running, slot string) error {
	trial, err := o.onTrial(*env, running)
	if err != nil {
		return err
	}
	if fallback, err := o.first(*env, running, ""); err != nil || trial && fallback == slot {
		return orNoFallback(err)
	}
	o.remove(env, slot)
	if armed, _ := env.get(trialVariable); armed == slot {
		env.unset(trialVariable)
	}
	return nil
}

func (o bootOrder) arm(env *variables, running, slot string) error {
	// A slot that may be given up is nothing to fall back to.
	if trial, err := o.onTrial(*env, running); err != nil || trial {
		return orNoFallback(err)
	}
	o.place(env, slot, running)
	o.setLeft(env, slot, o.tries)
	o.setLeft(env, running, o.tries)
	env.set(trialVariable, slot)
	return nil
}

func (o bootOrder) sets(name, running, slot string) bool {
	return slices.Contains([]string{orderVariable, leftVariable(slot), leftVariable(running)}, name)
}

func (o bootOrder) confirm(env *variables, running string) error {
	if trial, err := o.onTrial(*env, running); err != nil || !trial {
		return err // confirmed already: an armed slot stays armed
	}
	o.place(env, running)
	o.setLeft(env, running, o.tries)
	env.unset(trialVariable)
	return nil
}

func (o bootOrder) reject(env *variables, running string) error {
	trial, err := o.onTrial(*env, running)
	if err != nil {
		return err
	}
	fallback, err := o.first(*env, running, "")
	if err != nil || !trial || fallback == "" {
		return orNoFallback(err)
	}
	o.remove(env, running)
	o.setLeft(env, fallback, o.tries)
	return nil
}

// cameUp gives a confirmed slot its tries back, and takes an armed one that
// used up its own out of the order, lest the script give it new ones.
func (o bootOrder) cameUp(env *variables, running string) error {
	if trial, err := o.onTrial(*env, running); err != nil || trial {
		return err
	}
	o.setLeft(env, running, o.tries)
	armed, ok := env.get(trialVariable)
	if !ok {
		return nil
	}
	left, err := o.left(*env, armed)
	if err == nil && left == 0 {
		o.remove(env, armed)
		env.unset(trialVariable)
	}
	return err
}

// orNoFallback is err, or ErrNoFallback when there was none.
func orNoFallback(err error) error {
	if err != nil {
		return err
	}
	return board.ErrNoFallback
}
