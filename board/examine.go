package board

import "context"

// Examiner is the optional power to look at what starts the box, without
// changing anything, for a check by a person.
type Examiner interface {
	// Examine looks at each thing that the bootloader depends on.
	Examine(ctx context.Context) []Condition
}

// Condition is how one thing is.
type Condition struct {
	What string // "copy 1 in \"/dev/mmcblk0boot0\""
	Err  error  // what is wrong; nil when it is as it should be
	// Serious: the box may not start, or not update. Else another thing stands in.
	Serious bool
	Hint    string // what a person can do, when Err is not nil
}
