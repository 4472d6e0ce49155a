// "You are the scheduler": the reader walks through a graph of every order of a model's moves.
//
// All that is known of the server here is what the graph says, which `tests/game` has written: the moves, what they do, the
// goals, the checkpoints on the way, and how far it is to each.
'use strict';

(() => {
    const { Lanes, Panel, Source, WholeSource, badge, button, element, failed, replace, reveal, thousands, withSource } = window.lab;

    const OUTSIDE = 'Outside the server: no line of it.';
    const places = [...document.querySelectorAll('.scheduler-game')];
    const graphsOf = (place) => place.dataset.graphs.split(' ');
    const stages = places.flatMap((place) => graphsOf(place).map((path) => path.match(/(\w+)\.game\.js$/)[1]));

    /** Which goals were reached, by stage. Some browsers keep nothing, for a page of a file or at all. */
    const progress = {
        key: 'epoll-autopsy-game',
        read() {
            try {
                const kept = JSON.parse(localStorage.getItem(this.key));
                return kept !== null && typeof kept === 'object' ? kept : {};
            } catch {
                return {};
            }
        },
        has(stage, goal) {
            const goals = this.read()[stage];
            return Array.isArray(goals) && goals.includes(goal);
        },
        add(stage, goal) {
            if (this.has(stage, goal)) return;
            const kept = this.read();
            const goals = Array.isArray(kept[stage]) ? kept[stage] : [];
            try {
                localStorage.setItem(this.key, JSON.stringify({ ...kept, [stage]: [...goals, goal] }));
            } catch {
                // Then it is known until the page is left.
            }
        },
    };

    const capital = (text) => text[0].toUpperCase() + text.slice(1);

    class Game {
        constructor(place, graphs) {
            this.graphs = graphs.map(([graph]) => graph);
            this.sources = graphs.map(([, source]) => source);
            this.isFirst = place === places[0];
            this.live = element('p', { class: 'lab-live', 'aria-live': 'polite' });
            this.closed = element('div', { class: 'lab-closed', 'aria-live': 'polite' });
            this.score = element('p', { class: 'lab-score' });
            this.proof = element('p', { class: 'lab-proof' });
            this.goals = element('div', { class: 'lab-goals' });
            this.win = element('div', { class: 'lab-win' });
            this.twins = element('div', { class: 'lab-controls', role: 'group', 'aria-label': 'Which server' });
            this.graphs.forEach((graph, at) => {
                const pick = () => this.pick(at);
                this.twins.append(button(graph.head.stage, pick, { 'aria-pressed': 'false' }));
            });
            this.choices = element('div', { class: 'lab-choices', role: 'group', 'aria-label': 'Who moves next?' });
            this.undo = button('Undo', () => this.back(this.path.length - 1));
            const tools = element(
                'div',
                { class: 'lab-controls', role: 'group', 'aria-label': 'The game' },
                this.undo,
                button('Start again', () => this.back(0)),
                button('Hint', () => this.hint()),
                button('Random order', () => this.random()),
            );
            this.link = element('a', {}, 'Link to this position');
            this.sight = element('div', { class: 'lab-sight' });
            const hand = element('div', { class: 'lab-hand' }, this.choices, tools, this.live, this.closed, this.score);
            this.body = element('div', { class: 'lab-body' });
            const most = Math.max(...this.graphs.map((graph) => graph.head.roles.length));
            const keys = `Keys 1 to ${most} choose, Backspace undoes.`;
            const attributes = { class: 'lab-box', role: 'region', 'aria-label': `You are the scheduler. ${keys}`, tabindex: '0' };
            this.box = element('div', attributes, element('p', { class: 'lab-title' }, element('b', {}, 'You are the scheduler')));
            this.box.append(this.twins, this.proof, this.goals, element('div', { class: 'lab-play' }, hand, this.sight));
            this.box.append(this.win, this.body, element('p', { class: 'lab-keys' }, `${keys} `, this.link));
            this.box.addEventListener('keydown', (event) => this.key(event));
            replace(place, this.box);
            this.isPlaced = false;
            this.pick(0);
            this.isPlaced = true;
            this.follow();
            addEventListener('hashchange', () => this.follow());
        }

        pick(at, goal = 0) {
            this.graph = this.graphs[at];
            const { head } = this.graph;
            [...this.twins.children].forEach((twin, other) => twin.setAttribute('aria-pressed', String(other === at)));
            const counted = `${thousands(head.orders)} orders, through ${thousands(head.states)} states`;
            const ends = [...new Set(this.graph.nodes.filter((node) => node[3]).map((node) => this.graph.texts[node[3][1]]))];
            this.proof.textContent =
                head.goals.length === 0
                    ? `Proved safe: these moves can be made in ${counted}, and every order has the same end: ${ends.join(', or ')}. Try it.`
                    : `These moves can be made in ${counted}.`;
            this.lanes = new Lanes(head.roles, 'What you have let happen', (row) => this.back(row + 1));
            this.panel = new Panel(head.sections);
            this.source = new WholeSource(head.file, this.sources[at], head.roles);
            this.lines = this.sources[at];
            this.sight.replaceChildren(this.panel.element);
            this.body.replaceChildren(this.lanes.element, this.source.element);
            const choice = (role, index) => {
                const look = () => this.look(index);
                return button('', () => this.move(index), { onfocus: look, onmouseenter: look, 'data-role': role });
            };
            this.choices.replaceChildren(...head.roles.map(choice));
            this.goal = goal;
            this.path = [];
            this.show();
        }

        get state() {
            return this.path.length > 0 ? this.path[this.path.length - 1].to : this.graph.head.start;
        }

        get node() {
            return this.graph.nodes[this.state];
        }

        moveOf(role, node = this.node) {
            return node[2].find((move) => move[0] === role);
        }

        /** The bits of a goal in a move begin here: first its checkpoints, then its two guilty moves. */
        bit(goal) {
            const before = this.graph.head.goals.slice(0, goal);
            return before.reduce((sum, { checkpoints, guilty }) => sum + checkpoints.length + guilty.length, 0);
        }

        /** How many checkpoints of a goal are passed after a move with these marks. */
        advance(goal, passed, marks) {
            const count = this.graph.head.goals[goal].checkpoints.length;
            while (passed < count && (marks >> (this.bit(goal) + passed)) & 1) passed += 1;
            return passed;
        }

        /** The fewest moves from a state to the end of a goal; `null` if none leads there. */
        far(goal, passed, state) {
            const far = this.graph.far[goal][passed][state];
            return far < 0 ? null : far;
        }

        /** Where none leads there: the first checkpoint that no order comes to; after the last one, the end. */
        lacking(goal, passed, state) {
            return -this.graph.far[goal][passed][state] - 1;
        }

        /** A checkpoint, or after the last one the end: what it is, and how it comes about. */
        aim(goal, at) {
            const { checkpoints, end } = this.graph.head.goals[goal];
            return checkpoints[at] || end;
        }

        /** Of the play so far and one goal: when each checkpoint was passed; which move closed it, and what is lacking since; if it is reached. */
        course(goal) {
            const passes = [];
            let [closed, lacking] = [null, null];
            this.path.forEach(({ marks, to }, at) => {
                const passed = this.advance(goal, passes.length, marks);
                while (passes.length < passed) passes.push(at + 1);
                if (closed !== null || this.far(goal, passed, to) !== null) return;
                [closed, lacking] = [at, this.lacking(goal, passed, to)];
            });
            const reached = this.node[3] !== null && this.far(goal, passes.length, this.state) === 0;
            return { passes, closed, lacking, reached };
        }

        /** Shows where a role stands. */
        look(role) {
            const stands = this.graph.stands[this.node[1]];
            this.source.show(stands.map(([, line]) => line), role);
        }

        /** What a role would do, or why it cannot move. */
        prospect(role, node = this.node) {
            const move = this.moveOf(role, node);
            return this.graph.texts[move ? move[3] : this.graph.stands[node[1]][role][0]];
        }

        push(role) {
            const [, step, line, did, to, marks] = this.moveOf(role);
            this.path.push({ role, to, line, step, did, marks });
            const name = this.graph.head.roles[role];
            const end = this.graph.nodes[to][3];
            const text = this.graph.texts[did];
            this.lanes.add({ step: this.path.length, role: name, text, mark: end && end[2] ? end[0] : null });
            if (end && end[2]) this.lanes.rows[this.path.length - 1].querySelector('.lab-event').classList.add('bad');
            return `${name} ${text}`;
        }

        move(role) {
            if (this.moveOf(role)) this.show(this.push(role));
            else this.live.textContent = `${this.graph.head.roles[role]} cannot move now: it ${this.prospect(role)}.`;
        }

        back(length) {
            if (length < 0 || length >= this.path.length) return;
            this.path.length = length;
            this.lanes.cut(this.path.length);
            this.show('Taken back');
        }

        show(said = '') {
            const [panel, stands, moves, end] = this.node;
            const { head, texts } = this.graph;
            this.grade = 0;
            this.panel.show(this.graph.panels[panel]);
            const last = this.path[this.path.length - 1];
            const lines = this.graph.stands[stands].map(([, line]) => line);
            // Who has crashed stands where it last moved.
            if (end !== null && end[2] && last.line) lines[last.role] = lines[last.role] || last.line;
            this.source.show(lines, last && lines[last.role] ? last.role : 1);
            head.roles.forEach((name, role) => {
                const move = moves.find((other) => other[0] === role);
                const choice = this.choices.children[role];
                choice.setAttribute('aria-disabled', String(!move));
                choice.classList.remove('hinted');
                const line = move && move[2] ? `, line ${move[2]}` : '';
                const does = element('span', { class: 'lab-does' }, ` ${this.prospect(role)}${line}`);
                choice.replaceChildren(element('kbd', {}, String(role + 1)), ' ', badge(head.roles, role), element('b', {}, ` ${name}`), does);
            });
            const lost = document.activeElement;
            if (lost && lost.parentNode === this.choices && lost.getAttribute('aria-disabled') === 'true') {
                const next = this.choices.querySelector('[aria-disabled=false]');
                if (next) next.focus();
            }
            this.undo.setAttribute('aria-disabled', String(this.path.length === 0));
            const courses = head.goals.map((_, goal) => this.course(goal));
            const fewest = head.goals.length === 0 ? '' : `; the fewest to this goal: ${head.goals[this.goal].fewest}`;
            this.score.textContent = `Moves: ${this.path.length}${fewest}.`;
            const reached = [this.goal, ...head.goals.keys()].find((goal) => courses[goal] && courses[goal].reached);
            if (reached !== undefined) progress.add(head.stage, head.goals[reached].name);
            this.showGoals(courses);
            this.showClosed(courses[this.goal]);
            this.showWin(reached);
            this.lanes.mark(this.path.length - 1);
            this.showPosition();
            let text = said || 'Choose who moves first.';
            if (reached !== undefined) {
                const needed = this.path.length - head.goals[reached].fewest;
                const praise = needed === 0 ? 'No order is shorter.' : `${needed} more than the shortest order.`;
                const other = reached === this.goal ? '' : ` That is another goal: ${head.goals[reached].text}`;
                text = `${capital(end[0])}: ${texts[end[1]]}. ${said}. You needed ${this.path.length} moves. ${praise}${other}`;
            } else if (end !== null) {
                const next = head.goals.length === 0 ? 'So do all the others.' : 'This goal is not reached.';
                text = `${said}. ${end[2] ? capital(end[0]) : 'The end'}: ${texts[end[1]]}. ${end[2] ? '' : 'This order does no harm. '}${next}`;
            }
            this.live.textContent = text;
            this.live.classList.toggle('bad', end !== null && end[2]);
            this.live.classList.toggle('good', end !== null && !end[2]);
        }

        /** The goals; the one that is played for, with its checkpoints. */
        showGoals(courses) {
            const { goals, stage } = this.graph.head;
            if (goals.length === 0) return this.goals.replaceChildren();
            const chosen = goals[this.goal];
            const { passes, closed, lacking, reached } = courses[this.goal];
            const kept = (goal) => (progress.has(stage, goal.name) ? element('span', { class: 'lab-kept' }, ' ✓ reached') : null);
            const other = (goal, at) => {
                const label = element('span', {}, `Goal ${at + 1}`, kept(goal));
                const pick = () => this.pickGoal(at);
                return button(label, pick, { 'aria-pressed': String(at === this.goal) });
            };
            const buttons = goals.length === 1 ? null
                : element('div', { class: 'lab-controls', role: 'group', 'aria-label': 'Which goal' }, ...goals.map(other));
            const steps = [...chosen.checkpoints, chosen.end].map(([text], at) => {
                const done = at === passes.length && reached ? ` (move ${this.path.length})` : ` (move ${passes[at]})`;
                const place = at < passes.length + reached ? 'done' : at >= lacking && closed !== null ? 'lost'
                    : at === passes.length ? 'coming' : '';
                const sign = { done: '✓ ', coming: '→ ', lost: '✗ ' }[place] || '○ ';
                const note = { done, lost: ' (it cannot come about any more)' }[place] || '';
                return element('li', { class: place }, `${sign}${capital(text)}${note}`);
            });
            this.goals.replaceChildren(
                ...[buttons].filter(Boolean),
                element('p', {}, element('b', {}, chosen.text), goals.length === 1 ? kept(chosen) : null),
                element('ol', { class: 'lab-checkpoints', 'aria-label': 'Checkpoints' }, ...steps),
            );
        }

        pickGoal(goal) {
            this.goal = goal;
            this.show(this.path.length > 0 ? 'Another goal, the same moves' : '');
            const buttons = this.goals.querySelectorAll('button');
            if (buttons[goal]) buttons[goal].focus();
        }

        /** Says which move has put the goal out of reach, what that changed, and what would have kept it. */
        showClosed(course) {
            const at = course ? course.closed : null;
            if (at === null) {
                this.closed.replaceChildren();
                return;
            }
            const { head, nodes, texts } = this.graph;
            const { role, did, to } = this.path[at];
            const before = nodes[at > 0 ? this.path[at - 1].to : head.start];
            const passed = course.passes.filter((move) => move <= at).length;
            const [aim, how] = this.aim(this.goal, course.lacking);
            const open = before[2].filter((move) => this.far(this.goal, this.advance(this.goal, passed, move[5]), move[4]) !== null);
            const kept = open.map((move) => `${head.roles[move[0]]} (${texts[move[3]]})`);
            const changes = this.changes(before, nodes[to], role);
            this.closed.replaceChildren(
                element('p', {}, element('b', {}, `Move ${at + 1} has closed it: ${head.roles[role]} ${texts[did]}.`)),
                element('p', {}, `From there no order comes to this: ${aim}. ${how}`),
                changes.length > 0 ? element('p', {}, `That move left: ${changes.join('; ')}.`) : '',
                element('p', {}, `Before it, this would have kept it open: ${kept.join('; or ')}.`),
                button(`Take back to before move ${at + 1}`, () => {
                    this.back(at);
                    const next = this.choices.querySelector('[aria-disabled=false]');
                    if (next) next.focus();
                }),
            );
        }

        /** What differs between two states, in the words of the panel, and who of those that moved cannot any more. */
        changes(before, after, mover) {
            const { head, panels, stands, texts } = this.graph;
            const sections = head.sections.flatMap((section, at) => {
                const rows = (node) => new Map(panels[node[0]][at].map(([name, detail]) => [name, detail]));
                const [old, fresh] = [rows(before), rows(after)];
                const gone = [...old.keys()].filter((name) => !fresh.has(name)).map((name) => `${name} is gone`);
                const changed = [...fresh].filter(([name, detail]) => old.get(name) !== detail);
                const say = ([name, detail]) => `${name}${detail ? ` ${detail}` : ''}${old.get(name) ? ` (it was ${old.get(name)})` : ''}`;
                return [...changed.map(say), ...gone].map((text) => `${section}: ${text}`);
            });
            const blocked = head.roles.filter((_, role) =>
                !this.moveOf(role, after) && (role === mover || this.moveOf(role, before)) && after[3] === null);
            const why = (name) => `${name} ${texts[stands[after[1]][head.roles.indexOf(name)][0]]}`;
            return [...sections, ...blocked.map(why)];
        }

        /** The order as a schedule of the lab. */
        schedule() {
            const { head, texts } = this.graph;
            const steps = this.path.filter(({ step }) => step !== null).map(({ step }) => texts[step]);
            return [...head.plans, ...steps].map((line) => `${line}\n`).join('');
        }

        /** The two moves of which the end has come, and what to do with it. */
        showWin(goal) {
            this.lanes.rows.forEach((row) => row.classList.remove('guilty-from', 'guilty-to', 'guilty-between'));
            this.box.querySelectorAll('.lab-guilt').forEach((mark) => mark.remove());
            if (this.file) URL.revokeObjectURL(this.file);
            this.file = null;
            if (goal === undefined) {
                this.win.replaceChildren();
                return;
            }
            const { head, texts } = this.graph;
            const { guilty, checkpoints, text } = head.goals[goal];
            const first = this.bit(goal) + checkpoints.length;
            const rows = guilty.map((_, at) => this.path.findLastIndex(({ marks }) => (marks >> (first + at)) & 1));
            const [from, to] = [Math.min(...rows), Math.max(...rows)];
            this.lanes.rows.forEach((row, at) => {
                row.classList.toggle('guilty-from', at === from);
                row.classList.toggle('guilty-between', at > from && at < to);
                row.classList.toggle('guilty-to', at === to);
            });
            const figures = guilty.map((what, at) => {
                const { role, line, did } = this.path[rows[at]];
                const sign = at === 0 ? '①' : '②';
                this.lanes.rows[rows[at]].querySelector('.lab-event')
                    .append(element('strong', { class: 'lab-mark lab-guilt' }, ` ${sign} ${what}`));
                const source = new Source(head.file, this.lines);
                source.show(line, OUTSIDE);
                const title = element('p', {}, element('b', {}, `${sign} ${capital(what)}: `),
                    `move ${rows[at] + 1}, ${head.roles[role]} ${texts[did]}`);
                return element('div', {}, title, source.element);
            });
            const schedule = this.schedule();
            this.file = URL.createObjectURL(new Blob([schedule], { type: 'text/plain' }));
            const download = element('a', { href: this.file, download: head.schedule }, `Download ${head.schedule}`);
            // A chapter is a stage; what mdBook calls the next page may be a part of this one.
            const next = `stage${Number(head.stage.match(/\d+/)[0]) + 1}.html`;
            this.win.replaceChildren(
                element('p', {}, element('b', {}, `Reached: ${text}`)),
                element('div', { class: 'lab-guilty' }, ...figures),
                element('p', {}, 'This very order, on the real kernel: ', download, ', and'),
                element('pre', { class: 'lab-command', tabindex: '0', 'aria-label': 'Command' }, head.command),
                element('details', {}, element('summary', {}, 'The schedule'),
                    element('pre', { class: 'lab-schedule', tabindex: '0', 'aria-label': 'Schedule' }, schedule)),
                element('p', {}, element('a', { href: next }, 'To the next chapter')),
            );
        }

        /** The position as a link: the stage, its goal if it is not the first, and who moved. */
        showPosition() {
            const { head } = this.graph;
            const goal = this.goal > 0 ? `.${head.goals[this.goal].name}` : '';
            const hash = `#game:${head.stage}${goal}:${this.path.map(({ role }) => role).join(',')}`;
            this.link.href = hash;
            // The address may name a position that is still to be gone to, in this game or in another one.
            if (!this.isPlaced || (this.path.length === 0 && !location.hash.startsWith('#game:'))) return;
            try {
                history.replaceState(null, '', this.path.length > 0 ? hash : location.pathname + location.search);
            } catch {
                // A page of a file: the link is there still.
            }
        }

        /** Goes to the position that the page's address names. */
        follow() {
            const hash = location.hash;
            if (!hash.startsWith('#game:')) return;
            const [, stage, name, moves] = hash.match(/^#game:(\w+)(?:\.(\w+))?:((?:\d(?:,\d)*)?)$/) || [];
            const at = this.graphs.findIndex((graph) => graph.head.stage === stage);
            // Another game of this page knows it.
            if (at < 0 && (stages.includes(stage) || !this.isFirst)) return;
            const goals = at < 0 ? [] : this.graphs[at].head.goals;
            const goal = name === undefined ? 0 : goals.findIndex((other) => other.name === name);
            this.pick(Math.max(at, 0), Math.max(goal, 0));
            let wrong = at < 0 || goal < 0 ? 'it names no game of this page' : null;
            let said = '';
            for (const [index, role] of (moves ? moves.split(',').map(Number) : []).entries()) {
                if (wrong !== null) break;
                if (this.moveOf(role)) said = this.push(role);
                else wrong = `its move ${index + 1} is not possible`;
            }
            if (wrong !== null) {
                this.path = [];
                this.lanes.cut(0);
                this.show(`The link leads to no position: ${wrong}. The game begins anew`);
            } else {
                this.show(said);
            }
            this.box.scrollIntoView();
        }

        /** Each press goes a grade further: the aim, who, the move. */
        hint() {
            const { head, texts } = this.graph;
            if (head.goals.length === 0) {
                this.live.textContent = 'There is nothing to look for: every order ends well.';
                return;
            }
            const { passes, closed, reached } = this.course(this.goal);
            if (reached || closed !== null) {
                this.live.textContent = reached ? 'It is reached. Undo, or start again.'
                    : `Nothing leads there from here. Take back to before move ${closed + 1}.`;
                return;
            }
            const distance = (move) => this.far(this.goal, this.advance(this.goal, passes.length, move[5]), move[4]);
            const near = this.node[2].filter((move) => distance(move) !== null);
            near.sort((one, other) => distance(one) - distance(other));
            const [role, , , did] = near[0];
            const name = head.roles[role];
            this.grade = Math.min(this.grade + 1, 3);
            const [aim, how] = this.aim(this.goal, passes.length);
            this.live.textContent = [
                `Hint, the aim: ${aim}. ${how}`,
                `Hint, who: ${name}.`,
                `Hint, the move: ${name} ${texts[did]}. The end is ${distance(near[0]) + 1} moves away.`,
            ][this.grade - 1];
            this.choices.children[role].classList.toggle('hinted', this.grade > 1);
            if (this.grade > 1) this.look(role);
        }

        random() {
            if (this.node[2].length === 0) this.back(0);
            let said = '';
            while (this.node[2].length > 0) {
                const moves = this.node[2];
                said = this.push(moves[Math.floor(Math.random() * moves.length)][0]);
            }
            this.show(said);
        }

        key(event) {
            if (event.ctrlKey || event.metaKey || event.altKey) return;
            const role = Number(event.key) - 1;
            const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
            if (event.key in steps) {
                // mdBook turns pages with the arrow keys.
                event.stopPropagation();
                // Elsewhere they scroll.
                if (event.target.parentNode !== this.choices) return;
                const all = [...this.choices.children];
                all[(all.indexOf(event.target) + steps[event.key] + all.length) % all.length].focus();
            } else if (role >= 0 && role < this.graph.head.roles.length) {
                this.move(role);
            } else if (event.key === 'Backspace') {
                this.back(this.path.length - 1);
            } else {
                return;
            }
            event.preventDefault();
            event.stopPropagation();
        }
    }

    for (const place of places) {
        const graphs = Promise.all(graphsOf(place).map(withSource));
        graphs.then((loaded) => new Game(place, loaded)).catch((error) => failed(place, error));
    }
})();
