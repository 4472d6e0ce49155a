labData("stage7_broken", {
"file":"lab/stages/stage7_broken.rs",
"flows":[],
"roles":["main","operator","worker-1"],
"rows":[
[1,"worker-1","lock the queue",null,67,[[["listener","IN RDHUP","on"]],[["lock","held by worker-1","on"]],[],[]],[]],
[null,"worker-1","look at the flag: not set",null,73,[[["listener","IN RDHUP","on"]],[["lock","held by worker-1","on"],["flag","not set","on"]],[],[]],[]],
[2,"operator","tells the server to stop",null,null,[[["listener","IN RDHUP","on"]],[["lock","held by worker-1","on"],["flag","not set","on"],["order to stop","given","on"]],[],[]],[]],
[3,"main","epoll_wait: stop",null,218,[[],[["lock","held by worker-1","on"],["flag","not set","on"],["order to stop","given","on"]],[],[]],[]],
[null,"main","lock the table",null,174,[[],[["lock","held by worker-1","on"],["flag","not set","on"],["order to stop","given","on"]],[],[]],[]],
[4,"main","set the flag",null,86,[[],[["lock","held by worker-1","on"],["flag","set","on"],["order to stop","given","on"]],[],[]],[]],
[5,"main","notify: nobody sleeps",null,89,[[],[["lock","held by worker-1","on"],["flag","set","on"],["order to stop","given","on"]],[],[]],[]],
[null,"main","waits for the end of worker-1","refused",null,[[],[["lock","held by worker-1","on"],["flag","set","on"],["order to stop","given","on"]],[],[]],[]],
[6,"worker-1","sleep in the queue",null,78,[[],[["lock","free","off"],["flag","set","on"],["worker-1","sleeps until notified","off"],["order to stop","given","on"]],[],[]],[]],
[null,"worker-1","waits for a notification","refused",null,[[],[["lock","free","off"],["flag","set","on"],["worker-1","sleeps until notified","off"],["order to stop","given","on"]],[],[]],[]],
[null,null,"the schedule is over; nobody is left who could wake anybody: the server never stops","never stops",null,[[],[["lock","free","off"],["flag","set","on"],["worker-1","sleeps until notified","off"],["order to stop","given","on"]],[],[]],[]]
],
"sections":["Interest list","Task queue","Memory","Socket"],
"signal":"SIGKILL",
"stage":"stage7_broken",
"title":"told to stop between a worker's look and its sleep",
});
