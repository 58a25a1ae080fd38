package uboot

import (
	"context"
	"fmt"

	"otad/board"
)

// Examine implements [board.Examiner]: both copies of the environment, and the
// proof that the bootloader reads it.
func (b *Board) Examine(context.Context) []board.Condition {
	var list []board.Condition
	good := 0
	for i, c := range b.store.copies {
		_, err := b.store.readCopy(i)
		if err == nil {
			good++
		}
		list = append(list, board.Condition{What: fmt.Sprintf("copy %d in %q", i+1, c.path), Err: err})
	}
	for i := range list {
		list[i].Serious = good == 0
		list[i].Hint = "the other copy is good; the next act of otad writes this one anew"
		if good == 0 {
			list[i].Hint = "compare the place with U-Boot's settings; if it is right, let U-Boot save its environment (`saveenv`)"
		}
	}
	env, err := b.store.read()
	if err != nil {
		return list
	}
	return append(list, board.Condition{What: "the bootloader reads it", Err: b.checkCanary(env.variables), Serious: true,
		Hint: "restart once; if it stays, env_config names another place than U-Boot uses"})
}
