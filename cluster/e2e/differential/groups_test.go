package differential

import (
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// join is the request of a consumer that knows the protocols "range" and "roundrobin".
func join(group, member string) *message.JoinGroupRequest {
	return &message.JoinGroupRequest{GroupID: group, SessionTimeoutMs: 30_000, RebalanceTimeoutMs: 30_000, MemberID: member, ProtocolType: "consumer",
		Protocols: []message.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte("m1")}, {Name: "roundrobin", Metadata: []byte("m2")}}}
}

func syncGroup(group, member string, generation int32) *message.SyncGroupRequest {
	return &message.SyncGroupRequest{GroupID: group, MemberID: member, GenerationID: generation, ProtocolType: ptr("consumer"), ProtocolName: ptr("range"),
		Assignments: []message.SyncGroupRequestAssignment{{MemberID: member, Assignment: []byte("mine")}}}
}

func heartbeat(group, member string, generation int32) *message.HeartbeatRequest {
	return &message.HeartbeatRequest{GroupID: group, MemberID: member, GenerationID: generation}
}

func leave(group, member string) *message.LeaveGroupRequest {
	return &message.LeaveGroupRequest{GroupID: group, MemberID: member, Members: []message.LeaveGroupRequestMember{{MemberID: member}}}
}

// alone returns a stable group of one member, in its first generation.
func (e *env) alone(s string, instance *string) (group, member string) {
	e.Helper()
	group = e.group(s)
	m := join(group, "")
	m.GroupInstanceID = instance
	a := quiet[*message.JoinGroupResponse](e, m, 5)
	if a.ErrorCode == wire.ErrMemberIDRequired {
		m.MemberID = a.MemberID
		a = quiet[*message.JoinGroupResponse](e, m, 5)
	}
	if a.ErrorCode != wire.ErrNone {
		e.Fatalf("join: %v", a.ErrorCode)
	}
	if b := quiet[*message.SyncGroupResponse](e, syncGroup(group, a.MemberID, 1), 5); b.ErrorCode != wire.ErrNone {
		e.Fatalf("sync: %v", b.ErrorCode)
	}
	return group, a.MemberID
}

// joined is a case of one JoinGroup of an empty group.
func joined(name string, f func(m *message.JoinGroupRequest)) testcase {
	return testcase{"join-" + name, func(e *env) {
		m := join(e.group("g"), "")
		f(m)
		a, ok := e.do(m).(*message.JoinGroupResponse)
		if ok && a.ErrorCode == wire.ErrMemberIDRequired {
			m.MemberID = a.MemberID
			e.do(m)
		}
	}}
}

// stable is a case about a stable group of one member.
func stable(name string, f func(e *env, group, member string)) testcase {
	return testcase{name, func(e *env) {
		g, m := e.alone("g", nil)
		f(e, g, m)
	}}
}

// static is stable with a static member "i".
func static(name string, f func(e *env, group, member string)) testcase {
	return testcase{"static-" + name, func(e *env) {
		g, m := e.alone("g", ptr("i"))
		f(e, g, m)
	}}
}

// withInstance is a request of a group's member, as instance i.
func withInstance(m message.Request, i string) message.Request {
	switch m := m.(type) {
	case *message.JoinGroupRequest:
		m.GroupInstanceID = &i
	case *message.SyncGroupRequest:
		m.GroupInstanceID = &i
	case *message.HeartbeatRequest:
		m.GroupInstanceID = &i
	case *message.OffsetCommitRequest:
		m.GroupInstanceID = &i
	}
	return m
}

// one asks in the highest version in both runs: instances are not known before.
func (e *env) newest(m message.Request) message.Response {
	info, _ := message.Lookup(m.APIKey())
	return e.at(m, info.LatestStable)
}

type joinRequest = message.JoinGroupRequest

var groupCases = group{"groups", []testcase{
	joined("good", func(*joinRequest) {}),
	joined("empty-group", func(m *joinRequest) { m.GroupID = "" }),
	joined("session-too-short", func(m *joinRequest) { m.SessionTimeoutMs = 5999 }),
	joined("session-too-long", func(m *joinRequest) { m.SessionTimeoutMs = 1_800_001 }),
	joined("session-0", func(m *joinRequest) { m.SessionTimeoutMs = 0 }),
	joined("session-negative", func(m *joinRequest) { m.SessionTimeoutMs = -1 }),
	joined("session-shortest", func(m *joinRequest) { m.SessionTimeoutMs = 6000 }),
	joined("rebalance-negative", func(m *joinRequest) { m.RebalanceTimeoutMs = -1 }),
	joined("no-protocols", func(m *joinRequest) { m.Protocols = nil }),
	joined("no-protocol-type", func(m *joinRequest) { m.ProtocolType = "" }),
	joined("protocol-twice", func(m *joinRequest) { m.Protocols = append(m.Protocols, m.Protocols[0]) }),
	joined("protocol-empty-name", func(m *joinRequest) { m.Protocols[0].Name = "" }),
	joined("unknown-member", func(m *joinRequest) { m.MemberID = "nobody" }),
	joined("static", func(m *joinRequest) { m.GroupInstanceID = ptr("i") }),
	joined("static-empty", func(m *joinRequest) { m.GroupInstanceID = ptr("") }),
	joined("static-dot", func(m *joinRequest) { m.GroupInstanceID = ptr(".") }),
	joined("static-space", func(m *joinRequest) { m.GroupInstanceID = ptr("a b") }),
	joined("static-unknown-member", func(m *joinRequest) { m.GroupInstanceID, m.MemberID = ptr("i"), "nobody" }),
	joined("reason", func(m *joinRequest) { m.Reason = ptr("because") }),
	{"join-every-version", func(e *env) {
		for v := int16(0); v <= 9; v++ {
			m := join(e.group("g"+string('0'+rune(v))), "")
			a, ok := e.at(m, v).(*message.JoinGroupResponse)
			if ok && a.ErrorCode == wire.ErrMemberIDRequired {
				m.MemberID = a.MemberID
				e.at(m, v)
			}
		}
	}},
	stable("join-second-with-other-protocols", func(e *env, g, _ string) {
		m := join(g, "")
		m.Protocols = []message.JoinGroupRequestProtocol{{Name: "sticky", Metadata: []byte("x")}}
		e.do(m)
	}),
	stable("join-second-with-other-type", func(e *env, g, _ string) {
		m := join(g, "")
		m.ProtocolType = "connect"
		e.do(m)
	}),
	stable("join-second-unknown-member", func(e *env, g, _ string) { e.do(join(g, "nobody")) }),
	stable("join-again", func(e *env, g, m string) { e.do(join(g, m)) }),
	stable("join-again-other-protocols", func(e *env, g, m string) {
		r := join(g, m)
		r.Protocols = []message.JoinGroupRequestProtocol{{Name: "sticky", Metadata: []byte("x")}}
		e.do(r)
	}),
	stable("join-again-other-metadata", func(e *env, g, m string) {
		r := join(g, m)
		r.Protocols[0].Metadata = []byte("new")
		e.do(r)
	}),
	stable("sync-again", func(e *env, g, m string) { e.do(syncGroup(g, m, 1)) }),
	stable("sync-illegal-generation", func(e *env, g, m string) { e.do(syncGroup(g, m, 2)) }),
	stable("sync-generation-negative", func(e *env, g, m string) { e.do(syncGroup(g, m, -1)) }),
	stable("sync-unknown-member", func(e *env, g, _ string) { e.do(syncGroup(g, "nobody", 1)) }),
	stable("sync-empty-member", func(e *env, g, _ string) { e.do(syncGroup(g, "", 1)) }),
	stable("sync-other-protocol", func(e *env, g, m string) { r := syncGroup(g, m, 1); r.ProtocolName = ptr("roundrobin"); e.newest(r) }),
	stable("sync-other-type", func(e *env, g, m string) { r := syncGroup(g, m, 1); r.ProtocolType = ptr("connect"); e.newest(r) }),
	stable("sync-no-protocol", func(e *env, g, m string) {
		r := syncGroup(g, m, 1)
		r.ProtocolType, r.ProtocolName = nil, nil
		e.newest(r)
	}),
	on("sync-unknown-group", func(e *env) message.Request { return syncGroup(e.group("g"), "m", 1) }),
	on("sync-empty-group", func(*env) message.Request { return syncGroup("", "m", 1) }),
	stable("heartbeat", func(e *env, g, m string) { e.do(heartbeat(g, m, 1)) }),
	stable("heartbeat-illegal-generation", func(e *env, g, m string) { e.do(heartbeat(g, m, 7)) }),
	stable("heartbeat-generation-negative", func(e *env, g, m string) { e.do(heartbeat(g, m, -1)) }),
	stable("heartbeat-unknown-member", func(e *env, g, _ string) { e.do(heartbeat(g, "nobody", 1)) }),
	stable("heartbeat-empty-member", func(e *env, g, _ string) { e.do(heartbeat(g, "", 1)) }),
	stable("heartbeat-unknown-instance", func(e *env, g, m string) { e.newest(withInstance(heartbeat(g, m, 1), "i")) }),
	on("heartbeat-unknown-group", func(e *env) message.Request { return heartbeat(e.group("g"), "m", 1) }),
	on("heartbeat-empty-group", func(*env) message.Request { return heartbeat("", "m", 1) }),
	stable("leave", func(e *env, g, m string) { e.do(leave(g, m)); e.do(heartbeat(g, m, 1)) }),
	stable("leave-twice", func(e *env, g, m string) { e.do(leave(g, m)); e.do(leave(g, m)) }),
	stable("leave-unknown-member", func(e *env, g, _ string) { e.do(leave(g, "nobody")) }),
	stable("leave-nobody", func(e *env, g, _ string) { e.do(&message.LeaveGroupRequest{GroupID: g}) }),
	stable("leave-one-good-one-bad", func(e *env, g, m string) {
		e.newest(&message.LeaveGroupRequest{GroupID: g, Members: []message.LeaveGroupRequestMember{{MemberID: m}, {MemberID: "nobody"}}})
	}),
	stable("leave-same-twice", func(e *env, g, m string) {
		e.newest(&message.LeaveGroupRequest{GroupID: g, Members: []message.LeaveGroupRequestMember{{MemberID: m}, {MemberID: m}}})
	}),
	stable("leave-unknown-instance", func(e *env, g, m string) {
		e.newest(&message.LeaveGroupRequest{GroupID: g, Members: []message.LeaveGroupRequestMember{{MemberID: m, GroupInstanceID: ptr("i")}}})
	}),
	on("leave-unknown-group", func(e *env) message.Request { return leave(e.group("g"), "m") }),
	on("leave-empty-group", func(*env) message.Request { return leave("", "m") }),
	static("heartbeat", func(e *env, g, m string) { e.newest(withInstance(heartbeat(g, m, 1), "i")) }),
	static("heartbeat-fenced", func(e *env, g, m string) { e.newest(withInstance(heartbeat(g, "old", 1), "i")) }),
	static("heartbeat-without-instance", func(e *env, g, m string) { e.newest(heartbeat(g, m, 1)) }),
	static("heartbeat-empty-member", func(e *env, g, m string) { e.newest(withInstance(heartbeat(g, "", 1), "i")) }),
	static("sync-fenced", func(e *env, g, m string) { e.newest(withInstance(syncGroup(g, "old", 1), "i")) }),
	static("join-fenced", func(e *env, g, m string) { e.newest(withInstance(join(g, "old"), "i")) }),
	static("join-replaces", func(e *env, g, m string) {
		e.newest(withInstance(join(g, ""), "i"))
		e.newest(withInstance(heartbeat(g, m, 1), "i"))
	}),
	static("join-replaces-v5", func(e *env, g, m string) {
		e.at(withInstance(join(g, ""), "i"), 5)
		e.newest(withInstance(heartbeat(g, m, 1), "i"))
	}),
	static("join-replaces-other-protocols", func(e *env, g, m string) {
		r := join(g, "")
		r.Protocols[0].Metadata = []byte("new")
		e.newest(withInstance(r, "i"))
	}),
	static("leave-by-instance", func(e *env, g, _ string) {
		e.newest(&message.LeaveGroupRequest{GroupID: g, Members: []message.LeaveGroupRequestMember{{GroupInstanceID: ptr("i")}}})
	}),
	static("leave-fenced", func(e *env, g, _ string) {
		e.newest(&message.LeaveGroupRequest{GroupID: g, Members: []message.LeaveGroupRequestMember{{GroupInstanceID: ptr("i"), MemberID: "old"}}})
	}),
	static("leave-unknown-instance", func(e *env, g, _ string) {
		e.newest(&message.LeaveGroupRequest{GroupID: g, Members: []message.LeaveGroupRequestMember{{GroupInstanceID: ptr("j")}}})
	}),
	static("describe", func(e *env, g, _ string) { e.do(&message.DescribeGroupsRequest{Groups: []string{g}}) }),
	static("commit-fenced", func(e *env, g, _ string) {
		r := commit(g, e.topic("t", 1), 0, 1, "")
		r.MemberID, r.GenerationIDOrMemberEpoch = "old", 1
		e.at(withInstance(r, "i"), 9)
	}),
	stable("describe", func(e *env, g, _ string) { e.do(&message.DescribeGroupsRequest{Groups: []string{g}}) }),
	stable("describe-authorized-operations", func(e *env, g, _ string) {
		e.do(&message.DescribeGroupsRequest{Groups: []string{g}, IncludeAuthorizedOperations: true})
	}),
	on("describe-unknown", func(e *env) message.Request { return &message.DescribeGroupsRequest{Groups: []string{e.group("g")}} }),
	on("describe-empty-name", func(*env) message.Request { return &message.DescribeGroupsRequest{Groups: []string{""}} }),
	on("describe-none", func(*env) message.Request { return &message.DescribeGroupsRequest{} }),
	stable("describe-after-leave", func(e *env, g, m string) {
		quiet[*message.LeaveGroupResponse](e, leave(g, m), 3)
		e.do(&message.DescribeGroupsRequest{Groups: []string{g}})
	}),
	stable("describe-between", func(e *env, g, m string) {
		e.do(join(g, m))
		e.do(heartbeat(g, m, 2))
		e.do(&message.DescribeGroupsRequest{Groups: []string{g}})
	}),
	stable("list", func(e *env, _, _ string) { e.do(&message.ListGroupsRequest{}) }),
	stable("list-stable", func(e *env, _, _ string) { e.newest(&message.ListGroupsRequest{StatesFilter: []string{"Stable"}}) }),
	stable("list-stable-lower-case", func(e *env, _, _ string) { e.newest(&message.ListGroupsRequest{StatesFilter: []string{"stable"}}) }),
	stable("list-empty", func(e *env, _, _ string) { e.newest(&message.ListGroupsRequest{StatesFilter: []string{"Empty"}}) }),
	stable("list-unknown-state", func(e *env, _, _ string) { e.newest(&message.ListGroupsRequest{StatesFilter: []string{"Happy"}}) }),
	stable("list-classic", func(e *env, _, _ string) { e.newest(&message.ListGroupsRequest{TypesFilter: []string{"classic"}}) }),
	stable("list-classic-capitals", func(e *env, _, _ string) { e.newest(&message.ListGroupsRequest{TypesFilter: []string{"Classic"}}) }),
	stable("list-consumer", func(e *env, _, _ string) { e.newest(&message.ListGroupsRequest{TypesFilter: []string{"consumer"}}) }),
	stable("list-unknown-type", func(e *env, _, _ string) { e.newest(&message.ListGroupsRequest{TypesFilter: []string{"other"}}) }),
	stable("list-both", func(e *env, _, _ string) {
		e.newest(&message.ListGroupsRequest{TypesFilter: []string{"classic"}, StatesFilter: []string{"Empty", "Stable"}})
	}),
	stable("delete-not-empty", func(e *env, g, _ string) { e.do(&message.DeleteGroupsRequest{GroupsNames: []string{g}}) }),
	stable("delete-empty", func(e *env, g, m string) {
		quiet[*message.LeaveGroupResponse](e, leave(g, m), 3)
		e.do(&message.DeleteGroupsRequest{GroupsNames: []string{g}})
		e.do(&message.DeleteGroupsRequest{GroupsNames: []string{g}})
	}),
	on("delete-unknown", func(e *env) message.Request { return &message.DeleteGroupsRequest{GroupsNames: []string{e.group("g")}} }),
	on("delete-empty-name", func(*env) message.Request { return &message.DeleteGroupsRequest{GroupsNames: []string{""}} }),
	on("delete-none", func(*env) message.Request { return &message.DeleteGroupsRequest{} }),
	{"delete-twice-in-request", func(e *env) { g := e.group("g"); e.do(&message.DeleteGroupsRequest{GroupsNames: []string{g, g}}) }},
	finding("group", "g", 0), finding("transaction", "t", 1), finding("share", "s:x:1", 2), finding("type-3", "x", 3), finding("type-negative", "x", -1),
	{"find-empty-key", func(e *env) { e.do(&message.FindCoordinatorRequest{CoordinatorKeys: []string{""}}) }},
	{"find-no-keys", func(e *env) { e.at(&message.FindCoordinatorRequest{CoordinatorKeys: []string{}}, 4) }},
	{"find-two", func(e *env) { e.at(&message.FindCoordinatorRequest{CoordinatorKeys: []string{"a", "b"}}, 4) }},
	{"find-same-twice", func(e *env) { e.at(&message.FindCoordinatorRequest{CoordinatorKeys: []string{"a", "a"}}, 4) }},
}}

func finding(name, key string, kind int8) testcase {
	return testcase{"find-" + name, func(e *env) {
		e.do(&message.FindCoordinatorRequest{Key: key, CoordinatorKeys: []string{key}, KeyType: kind})
	}}
}
