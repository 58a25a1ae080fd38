package sim

import (
	"context"
	"errors"
	"io/fs"

	"otad/board"
)

// Examine implements [board.Examiner]: both copies of the environment. The
// second one is made by the second write.
func (b *Board) Examine(context.Context) []board.Condition {
	_, at, newestErr := b.box.newestEnv()
	var list []board.Condition
	for i, name := range envFiles {
		c := board.Condition{What: name, Serious: newestErr != nil, Hint: "the other copy is good; the next act writes this one anew"}
		data, err := b.box.readCopy(name)
		if err == nil {
			_, err = parseEnv(data)
		}
		if i == at || !(errors.Is(err, fs.ErrNotExist) && newestErr == nil) {
			c.Err = err
		}
		if newestErr != nil {
			c.Hint = "make the box anew"
		}
		list = append(list, c)
	}
	return list
}
