labData("loom_stage7_broken_tail", {
"file":"lab/stages/stage7_broken.rs",
"flows":[],
"roles":["client","main"],
"rows":[
[1,"client","connect",null,null,[[["listener","IN RDHUP","on"]],[],[],[["connection","0 bytes unread","off"]]],[]],
[2,"main","epoll_wait: listener",null,218,[[["listener","IN RDHUP","on"]],[],[],[["connection","0 bytes unread","off"]]],[]],
[null,"main","accept fd 6",null,269,[[["listener","IN RDHUP","on"]],[],[],[["fd 6","0 bytes unread","on"]]],[]],
[null,"main","lock the table",null,153,[[["listener","IN RDHUP","on"]],[],[],[["fd 6","0 bytes unread","on"]]],[]],
[null,"main","allocate session 1",null,160,[[["listener","IN RDHUP","on"],["fd 6 (gen 1)","IN RDHUP ET ONESHOT","on"]],[],[["session 1","live, 2 owners","on"]],[["fd 6","0 bytes unread","on"]]],[["map","session 1","on"]]],
[null,"main","give up session 1: 1 owner left",null,271,[[["listener","IN RDHUP","on"],["fd 6 (gen 1)","IN RDHUP ET ONESHOT","on"]],[],[["session 1","live, 1 owner","on"]],[["fd 6","0 bytes unread","on"]]],[["map","session 1","on"]]],
[3,"client","send 29 bytes",null,null,[[["listener","IN RDHUP","on"],["fd 6 (gen 1)","IN RDHUP ET ONESHOT","on"]],[],[["session 1","live, 1 owner","on"]],[["fd 6","29 bytes unread","on"]]],[["map","session 1","on"]]],
[4,"client","FIN",null,null,[[["listener","IN RDHUP","on"],["fd 6 (gen 1)","IN RDHUP ET ONESHOT","on"]],[],[["session 1","live, 1 owner","on"]],[["fd 6","29 bytes unread, FIN","on"]]],[["map","session 1","on"]]],
[5,"main","epoll_wait: fd 6 (gen 1) IN RDHUP",null,218,[[["listener","IN RDHUP","on"],["fd 6 (gen 1)","reported, not armed: IN RDHUP ET ONESHOT","off"]],[],[["session 1","live, 1 owner","on"]],[["fd 6","29 bytes unread, FIN","on"]]],[["map","session 1","on"]]],
[null,null,"the schedule is over; the server has closed with bytes unread, and the client gets no reply","lost",null,[[["listener","IN RDHUP","on"]],[],[["session 1","freed by main","gone"]],[["connection","29 bytes unread, FIN","off"]]],[]]
],
"sections":["Interest list","Task queue","Memory","Socket"],
"signal":null,
"stage":"stage7_broken",
"title":"a hang-up is obeyed before the bytes in front of it are read",
});
