labData("loom_stage3_broken", {
"file":"lab/stages/stage3_broken.rs",
"flows":[[7,10,"queue to take"],[9,11,"free to use"]],
"roles":["client","main","worker-1"],
"rows":[
[1,"client","connect",null,null,[[["listener","IN RDHUP","on"]],[],[],[["connection","0 bytes unread","off"]]],[]],
[2,"main","epoll_wait: listener",null,63,[[["listener","IN RDHUP","on"]],[],[],[["connection","0 bytes unread","off"]]],[]],
[null,"main","accept fd 6",null,68,[[["listener","IN RDHUP","on"]],[],[],[["fd 6","0 bytes unread","on"]]],[]],
[null,"main","allocate session 1",null,72,[[["listener","IN RDHUP","on"],["session 1","IN RDHUP ET","on"]],[],[["session 1","live","on"]],[["fd 6","0 bytes unread","on"]]],[["map","session 1","on"]]],
[3,"client","send 29 bytes",null,null,[[["listener","IN RDHUP","on"],["session 1","IN RDHUP ET","on"]],[],[["session 1","live","on"]],[["fd 6","29 bytes unread","on"]]],[["map","session 1","on"]]],
[4,"client","RST",null,null,[[["listener","IN RDHUP","on"],["session 1","IN RDHUP ET","on"]],[],[["session 1","live","on"]],[["fd 6","29 bytes unread, RST","on"]]],[["map","session 1","on"]]],
[5,"main","epoll_wait: fd 6 IN RDHUP HUP ERR",null,63,[[["listener","IN RDHUP","on"],["session 1","IN RDHUP ET","on"]],[],[["session 1","live","on"]],[["fd 6","29 bytes unread, RST","on"]]],[["map","session 1","on"]]],
[6,"main","queue session 1",null,87,[[["listener","IN RDHUP","on"],["session 1","IN RDHUP ET","on"]],[["session 1","","on"]],[["session 1","live","on"]],[["fd 6","29 bytes unread, RST","on"]]],[["map","session 1","on"],["queue 1","session 1","on"]]],
[7,"main","close fd 6",null,90,[[["listener","IN RDHUP","on"]],[["session 1","","on"]],[["session 1","live","on"]],[["connection","29 bytes unread, RST","off"]]],[["queue 1","session 1","on"]]],
[null,"main","free session 1",null,112,[[["listener","IN RDHUP","on"]],[["session 1","","on"]],[["session 1","freed by main","gone"]],[["connection","29 bytes unread, RST","off"]]],[["queue 1","session 1","bad"]]],
[8,"worker-1","take session 1",null,123,[[["listener","IN RDHUP","on"]],[],[["session 1","freed by main","gone"]],[["connection","29 bytes unread, RST","off"]]],[["worker-1","session 1","bad"]]],
[9,"worker-1","use session 1","SIGSEGV",127,[[["listener","IN RDHUP","on"]],[],[["session 1","freed by main","bad"]],[["connection","29 bytes unread, RST","off"]]],[["worker-1","session 1","bad"]]]
],
"sections":["Interest list","Task queue","Memory","Socket"],
"signal":"SIGSEGV",
"stage":"stage3_broken",
"title":"sessions are raw pointers, and a hang-up frees them",
});
