package api

import (
	"testing"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// A cursor before the first partition once took the node down.
func TestCursorBelowZeroIsRefused(t *testing.T) {
	r := &message.DescribeTopicPartitionsRequest{
		Topics: []message.DescribeTopicPartitionsRequestTopic{{Name: "a"}, {Name: "b"}},
		Cursor: &message.DescribeTopicPartitionsRequestCursor{TopicName: "a", PartitionIndex: -1},
	}
	a := invalidCursor(r)
	if len(a.Topics) != 2 {
		t.Fatalf("%d topics", len(a.Topics))
	}
	for i, topic := range a.Topics {
		if topic.ErrorCode != wire.ErrInvalidRequest || *topic.Name != r.Topics[i].Name {
			t.Errorf("%s: %v", *topic.Name, topic.ErrorCode)
		}
	}
}
