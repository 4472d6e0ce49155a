// The lanes player and the scheduler game.
//
// Both show what the project's tests have written: traces of real runs, and graphs of every order of a model's moves. No
// rule of the server is known here. A data file is a script (`labData(name, {...})`), so that it loads from a folder as it
// does from a server. Without this file the figures in the pages stand as they are.
'use strict';

(() => {
    const arrived = new Map();
    const waiting = new Map();

    window.labData = (name, data) => {
        arrived.set(name, data);
        (waiting.get(name) || []).forEach((ready) => ready(data));
        waiting.delete(name);
    };

    /** Loads `traces/stage3_broken.js`, which hands over the data of that name. */
    function load(path) {
        const name = path.split('/').pop().replace(/\.js$/, '');
        if (arrived.has(name)) return Promise.resolve(arrived.get(name));
        return new Promise((ready, failed) => {
            const others = waiting.get(name) || [];
            waiting.set(name, others.concat(ready));
            if (others.length > 0) return;
            const script = element('script', { src: path });
            script.addEventListener('error', () => failed(new Error(`${path} is not there`)));
            document.head.append(script);
        });
    }

    /** A trace or a graph, and the source of its stage: a file of its own, which is loaded once. */
    async function withSource(path) {
        const data = await load(path);
        const stage = (data.head || data).file.match(/(\w+)\.rs$/)[1];
        return [data, await load(path.replace(/[^/]+$/, `${stage}.source.js`))];
    }

    function element(tag, attributes = {}, ...children) {
        const made = document.createElement(tag);
        for (const [name, value] of Object.entries(attributes)) {
            if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
            else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
        }
        made.append(...children.filter((child) => child !== null && child !== undefined));
        return made;
    }

    const thousands = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ',');

    const calm = () => matchMedia('(prefers-reduced-motion: reduce)').matches;

    /** Keeps the reader's place: only the list scrolls, never the page. */
    function reveal(list, row) {
        const above = row.offsetTop;
        const below = above + row.offsetHeight;
        let top = list.scrollTop;
        if (above < top) top = above;
        else if (below > top + list.clientHeight) top = below - list.clientHeight;
        else return;
        list.scrollTo({ top, behavior: calm() ? 'auto' : 'smooth' });
    }

    /** The lanes: a list of rows, each in the column of its role. */
    class Lanes {
        constructor(roles, label, choose) {
            this.roles = roles;
            this.choose = choose;
            this.rows = [];
            this.list = element('ol', { class: 'lab-lanes', tabindex: '0', 'aria-label': label });
            const names = roles.map((role) => element('span', {}, role));
            this.head = element('div', { class: 'lab-head', 'aria-hidden': 'true' }, element('span'), ...names);
            this.element = element('div', { class: 'lab-table', style: `--lanes: ${roles.length}` }, this.head, this.list);
        }

        /** `role` is null for a remark across all lanes. */
        add({ step, role, text, mark }) {
            const at = this.rows.length;
            const column = role === null ? '2 / -1' : String(this.roles.indexOf(role) + 2);
            const crash = /^(SIG|crash)/.test(mark || '');
            const button = element(
                'button',
                { type: 'button', class: `lab-event${crash ? ' bad' : ''}`, style: `--column: ${column}`, tabindex: '-1' },
                role === null ? null : element('span', { class: 'lab-who' }, `${role} `),
                text,
                mark ? element('strong', { class: 'lab-mark' }, ` ${mark}`) : null,
            );
            button.addEventListener('click', () => this.choose(at));
            const row = element('li', {}, element('span', { class: 'lab-step' }, step ? String(step) : ''), button);
            this.rows.push(row);
            this.list.append(row);
        }

        cut(length) {
            this.rows.splice(length).forEach((row) => row.remove());
        }

        mark(at) {
            this.rows.forEach((row, other) => {
                row.classList.toggle('past', other < at);
                row.classList.toggle('now', other === at);
                if (other === at) row.firstChild.nextSibling.setAttribute('aria-current', 'step');
                else row.firstChild.nextSibling.removeAttribute('aria-current');
            });
            if (this.rows[at]) reveal(this.list, this.rows[at]);
        }
    }

    /** The state of the world: the sections of a panel. What has just changed is marked. */
    class Panel {
        constructor(sections) {
            this.sections = sections;
            this.before = null;
            this.element = element('div', { class: 'lab-panel' });
        }

        show(panel) {
            const known = new Set((this.before || panel).map((rows, at) => rows.map((row) => `${at} ${row}`)).flat());
            this.before = panel;
            const section = (title, at) => {
                const rows = panel[at].map(([name, detail, tone]) => {
                    const fresh = known.has(`${at} ${[name, detail, tone]}`) ? '' : ' fresh';
                    return element('li', { class: tone + fresh }, element('b', {}, name), detail ? ` ${detail}` : '');
                });
                const list = rows.length > 0 ? element('ul', {}, ...rows) : element('p', {}, 'empty');
                return element('section', {}, element('h4', {}, title), list);
            };
            this.element.replaceChildren(...this.sections.map(section));
        }
    }

    /** A few lines of the source around the current one. */
    class Source {
        constructor(file, lines) {
            this.file = file;
            this.lines = lines;
            this.caption = element('figcaption');
            this.text = element('pre', { class: 'lab-source', tabindex: '0', 'aria-label': `Source, ${file}` });
            this.element = element('figure', { class: 'lab-figure' }, this.caption, this.text);
        }

        show(line, otherwise) {
            this.caption.textContent = line ? `${this.file}:${line}` : otherwise;
            const shown = [];
            const wanted = (at) => this.lines[at - 1] !== undefined && !/^\s*\/\/ ANCHOR/.test(this.lines[at - 1]);
            if (line) {
                shown.push(line);
                for (let at = line - 1; at > 0 && shown.length < 4; at--) if (wanted(at)) shown.unshift(at);
                for (let at = line + 1; at <= this.lines.length && shown.length < 8; at++) if (wanted(at)) shown.push(at);
            }
            const indent = Math.min(...shown.map((at) => this.lines[at - 1]).filter(Boolean).map((l) => l.search(/\S/)));
            const rows = shown.map((at) => {
                const number = element('span', { class: 'lab-number', 'aria-hidden': 'true' }, String(at).padStart(4));
                const text = ` ${this.lines[at - 1].slice(indent)}\n`;
                return element('span', at === line ? { class: 'now', 'aria-current': 'true' } : {}, number, text);
            });
            this.text.replaceChildren(...rows);
            this.text.hidden = !line;
        }
    }

    /** Puts `live` in the place of the static figure, which stays for print. */
    function replace(place, live) {
        const still = element('div', { class: 'lab-still' });
        still.append(...place.childNodes);
        place.append(live, still);
        place.classList.add('live');
    }

    const button = (label, press, more = {}) => element('button', { type: 'button', onclick: press, ...more }, label);

    /** What the button says, and the milliseconds of a row. */
    const SPEEDS = [['1×', 1400], ['2×', 700], ['½×', 2800]];

    class Player {
        constructor(place, [whole, source]) {
            const last = Number(place.dataset.last || whole.rows.length);
            const data = { ...whole, rows: whole.rows.slice(-last) };
            this.name = place.dataset.trace.split('/').pop().replace(/\.js$/, '');
            this.rows = data.rows;
            this.at = 0;
            this.timer = null;
            this.lanes = new Lanes(data.roles, `The lanes of ${data.stage}`, (at) => this.go(at));
            for (const [step, role, text, mark] of data.rows) this.lanes.add({ step, role, text, mark });
            this.panel = new Panel(data.sections);
            this.drawing = window.labDrawing(data);
            this.source = new Source(data.file, source);
            this.live = element('p', { class: 'lab-live', 'aria-live': 'polite' });
            this.speed = 0;
            this.playing = button('Play', () => this.play(), { 'aria-pressed': 'false' });
            this.pace = button(`Speed ${SPEEDS[0][0]}`, () => this.hurry());
            this.slider = element('input', { type: 'range', min: 0, max: this.rows.length - 1, value: 0, 'aria-label': 'Row' });
            this.slider.addEventListener('input', () => this.go(Number(this.slider.value)));
            const controls = element(
                'div',
                { class: 'lab-controls', role: 'group', 'aria-label': 'Player' },
                button('First', () => this.go(0)),
                button('Back', () => this.go(this.at - 1)),
                this.playing,
                button('Next', () => this.go(this.at + 1)),
                button('Last', () => this.go(this.rows.length - 1)),
                this.pace,
                this.slider,
            );
            const inWords = element('details', {}, element('summary', {}, 'The same in words'), this.panel.element);
            const beside = element('div', { class: 'lab-beside' }, this.drawing.element, inWords);
            const left = element('div', { class: 'lab-left' }, this.lanes.element);
            // Where there are few rows, there is room for the source below them.
            (this.rows.length > 6 ? beside : left).append(this.source.element);
            const body = element('div', { class: 'lab-body' }, left, beside);
            const title = element('p', { class: 'lab-title' }, element('b', {}, data.stage), `: ${data.title}`);
            const keys = 'Click here, or come here with Tab; then the arrow keys step, Home and End jump, space plays. ';
            const label = `Player: the recorded run of ${data.stage}`;
            this.link = element('a', {}, 'Link to this row');
            const live = element('div', { class: 'lab-box', role: 'region', 'aria-label': label, tabindex: '0' });
            live.append(title, controls, this.live, body, element('p', { class: 'lab-keys' }, keys, this.link));
            live.addEventListener('keydown', (event) => this.key(event));
            replace(place, live);
            this.go(last < whole.rows.length ? last - 1 : 0);
            const linked = () => this.linked(live);
            addEventListener('hashchange', linked);
            linked();
        }

        /** `#stage4_broken:15` is a row of this player, counted from 1. */
        linked(live) {
            const [, name, row] = location.hash.match(/^#(\w+):(\d+)$/) || [];
            if (name !== this.name) return;
            this.go(Number(row) - 1);
            live.scrollIntoView({ block: 'start', behavior: 'instant' });
            live.focus({ preventScroll: true });
        }

        go(at) {
            this.at = Math.max(0, Math.min(at, this.rows.length - 1));
            const [step, role, text, mark, line, panel] = this.rows[this.at];
            this.lanes.mark(this.at);
            this.panel.show(panel);
            this.drawing.show(this.rows[this.at]);
            const outside = role?.startsWith('client') ? 'The client: outside the server, so no line of it.' : 'No line: nobody passed one.';
            this.source.show(line, outside);
            this.slider.value = this.at;
            this.link.href = `#${this.name}:${this.at + 1}`;
            const place = `Row ${this.at + 1} of ${this.rows.length}`;
            const said = [step ? `step ${step}` : null, role].filter(Boolean).join(', ');
            this.slider.setAttribute('aria-valuetext', `${place}: ${role || ''} ${text}`);
            this.live.textContent = `${place}${said ? `, ${said}` : ''}: ${text}${mark ? ` (${mark})` : ''}`;
            this.live.classList.toggle('bad', Boolean(mark && mark.startsWith('SIG')));
            if (this.at === this.rows.length - 1) this.stop();
        }

        play() {
            if (this.timer !== null) return this.stop();
            if (this.at === this.rows.length - 1) this.go(0);
            this.playing.textContent = 'Pause';
            this.playing.setAttribute('aria-pressed', 'true');
            this.timer = setInterval(() => this.go(this.at + 1), SPEEDS[this.speed][1]);
        }

        hurry() {
            this.speed = (this.speed + 1) % SPEEDS.length;
            this.pace.textContent = `Speed ${SPEEDS[this.speed][0]}`;
            if (this.timer === null) return;
            this.stop();
            this.play();
        }

        stop() {
            clearInterval(this.timer);
            this.timer = null;
            this.playing.textContent = 'Play';
            this.playing.setAttribute('aria-pressed', 'false');
        }

        key(event) {
            if (event.ctrlKey || event.metaKey || event.altKey) return;
            const onButton = event.target.tagName === 'BUTTON';
            const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
            if (event.key in steps) this.go(this.at + steps[event.key]);
            else if (event.key === 'Home') this.go(0);
            else if (event.key === 'End') this.go(this.rows.length - 1);
            else if (event.key === ' ' && !onButton) this.play();
            else return;
            event.preventDefault();
            // mdBook turns pages with the arrow keys.
            event.stopPropagation();
        }
    }

    /** "You are the scheduler": the reader walks through a graph. */
    class Game {
        constructor(place, graphs) {
            this.graphs = graphs.map(([graph]) => graph);
            this.sources = graphs.map(([, source]) => source);
            this.live = element('p', { class: 'lab-live', 'aria-live': 'polite' });
            this.score = element('p', { class: 'lab-score' });
            this.proof = element('p', { class: 'lab-proof' });
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
            this.body = element('div', { class: 'lab-body' });
            const keys = 'Keys 1 to 4 choose, Backspace undoes.';
            const attributes = { class: 'lab-box', role: 'region', 'aria-label': `You are the scheduler. ${keys}`, tabindex: '0' };
            const live = element('div', attributes, element('p', { class: 'lab-title' }, element('b', {}, 'You are the scheduler')));
            live.append(this.twins, this.proof, this.choices, tools, this.score, this.live, this.body);
            live.append(element('p', { class: 'lab-keys' }, keys));
            live.addEventListener('keydown', (event) => this.key(event));
            replace(place, live);
            this.pick(0);
        }

        pick(at) {
            this.graph = this.graphs[at];
            const { head } = this.graph;
            [...this.twins.children].forEach((twin, other) => twin.setAttribute('aria-pressed', String(other === at)));
            const [orders, states] = [thousands(head.orders), thousands(head.states)];
            this.proof.textContent =
                head.fewest === null
                    ? `Proved safe: the ${orders} orders of these moves lead through ${states} states, and in none of them does this server crash or hang. Try it.`
                    : `These moves can be made in ${orders} orders, through ${states} states. Some orders crash: ${head.fewest} moves are enough. Find one.`;
            this.lanes = new Lanes(head.roles, 'What you have let happen', (row) => this.back(row + 1));
            this.panel = new Panel(head.sections);
            this.source = new Source(head.file, this.sources[at]);
            const beside = element('div', { class: 'lab-beside' }, this.panel.element, this.source.element);
            this.body.replaceChildren(this.lanes.element, beside);
            const choice = (role, index) => {
                const look = () => this.look(index);
                return button('', () => this.move(index), { onfocus: look, onmouseenter: look, 'data-role': role });
            };
            this.choices.replaceChildren(...head.roles.map(choice));
            this.path = [];
            this.show();
        }

        get node() {
            return this.graph.nodes[this.path.length > 0 ? this.path[this.path.length - 1].to : this.graph.head.start];
        }

        moveOf(role) {
            return this.node[2].find((move) => move[0] === role);
        }

        /** Shows where a role stands. */
        look(role) {
            const move = this.moveOf(role);
            if (move) this.source.show(move[2], 'The client: outside the server, so no line of it.');
        }

        move(role) {
            const move = this.moveOf(role);
            if (!move) {
                const why = this.graph.texts[this.node[1][role]];
                this.live.textContent = `${this.graph.head.roles[role]} cannot move now: it ${why}.`;
                return;
            }
            const [, , line, did, to] = move;
            const crash = this.graph.nodes[to][3] !== null && this.graph.nodes[to][4] === 0;
            this.path.push({ role, to, line });
            const name = this.graph.head.roles[role];
            const text = this.graph.texts[did];
            this.lanes.add({ step: this.path.length, role: name, text, mark: crash ? 'crash' : null });
            this.show(`${name} ${text}`);
        }

        back(length) {
            if (length < 0 || length >= this.path.length) return;
            this.path.length = length;
            this.lanes.cut(this.path.length);
            this.show('Taken back');
        }

        show(said = '') {
            const [panel, stands, moves, end, fewest] = this.node;
            const { head, texts } = this.graph;
            this.lanes.mark(this.path.length - 1);
            this.panel.show(this.graph.panels[panel]);
            const last = this.path[this.path.length - 1];
            this.source.show(last && last.line, last ? 'The client: outside the server, so no line of it.' : 'Nobody has moved.');
            head.roles.forEach((name, role) => {
                const move = moves.find((other) => other[0] === role);
                const choice = this.choices.children[role];
                choice.setAttribute('aria-disabled', String(!move));
                choice.classList.remove('hinted');
                const what = move ? `${texts[move[1]]}${move[2] ? `, line ${move[2]}` : ''}` : texts[stands[role]];
                choice.replaceChildren(element('kbd', {}, String(role + 1)), element('b', {}, ` ${name}`), ` ${what}`);
            });
            const lost = document.activeElement;
            if (lost && lost.parentNode === this.choices && lost.getAttribute('aria-disabled') === 'true') {
                const next = this.choices.querySelector('[aria-disabled=false]');
                if (next) next.focus();
            }
            this.undo.setAttribute('aria-disabled', String(this.path.length === 0));
            const fewestAll = head.fewest === null ? '' : `; the fewest to a crash: ${head.fewest}`;
            this.score.textContent = `Moves: ${this.path.length}${fewestAll}.`;
            const crash = end !== null && fewest === 0;
            let text = said;
            if (crash) {
                const needed = this.path.length - head.fewest;
                const praise = needed === 0 ? 'No order is shorter.' : `${needed} more than the shortest order.`;
                text = `Crash: ${texts[end]}. ${said}. You needed ${this.path.length} moves. ${praise}`;
            } else if (end !== null) {
                const next = head.fewest === null ? 'So do all the others.' : 'Take some moves back and try another order.';
                text = `${said}. The end: ${texts[end]}. This order does no harm. ${next}`;
            } else if (head.fewest !== null && fewest === null) {
                text = `${said}. From here no order crashes any more: take a move back.`;
            }
            this.live.textContent = text || 'Choose who moves first.';
            this.live.classList.toggle('bad', crash);
            this.live.classList.toggle('good', end !== null && !crash);
        }

        hint() {
            const nodes = this.graph.nodes;
            const near = this.node[2].filter((move) => nodes[move[4]][4] !== null);
            near.sort((one, other) => nodes[one[4]][4] - nodes[other[4]][4]);
            if (near.length === 0) {
                const none = this.graph.head.fewest === null ? 'No order of this server crashes.' : 'No order crashes from here.';
                this.live.textContent = this.node[2].length === 0 ? 'It is over. Undo, or start again.' : none;
                return;
            }
            const choice = this.choices.children[near[0][0]];
            choice.classList.add('hinted');
            const left = nodes[near[0][4]][4] + 1;
            this.live.textContent = `Hint: ${this.graph.head.roles[near[0][0]]}. A crash is ${left} moves away.`;
            choice.focus();
        }

        random() {
            if (this.node[2].length === 0) this.back(0);
            while (this.node[2].length > 0) {
                const moves = this.node[2];
                this.move(moves[Math.floor(Math.random() * moves.length)][0]);
            }
        }

        key(event) {
            if (event.ctrlKey || event.metaKey || event.altKey) return;
            const role = Number(event.key) - 1;
            const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
            if (role >= 0 && role < this.graph.head.roles.length) {
                this.move(role);
            } else if (event.key === 'Backspace') {
                this.back(this.path.length - 1);
            } else if (event.key in steps && event.target.parentNode === this.choices) {
                const all = [...this.choices.children];
                all[(all.indexOf(event.target) + steps[event.key] + all.length) % all.length].focus();
            } else if (!(event.key in steps)) {
                return;
            }
            event.preventDefault();
            event.stopPropagation();
        }
    }

    /** Listings that are too wide scroll, so the keyboard must come to them too. */
    function reachable() {
        for (const code of document.querySelectorAll('pre > code')) {
            if (code.scrollWidth <= code.clientWidth) continue;
            code.tabIndex = 0;
            // mdBook turns pages with the arrow keys.
            code.addEventListener('keydown', (event) => event.key.startsWith('Arrow') && event.stopPropagation());
        }
    }
    addEventListener('load', reachable);

    window.lab = { load, element };

    function failed(place, error) {
        place.append(element('p', { class: 'lab-live' }, `The player did not load: ${error.message}.`));
    }

    const players = [...document.querySelectorAll('.lanes-player')].map((place) =>
        withSource(place.dataset.trace).then((loaded) => new Player(place, loaded)).catch((error) => failed(place, error)));
    // Once all of them have their height, the one that a link means is where it stays.
    Promise.all(players).then(() => dispatchEvent(new Event('hashchange')));
    document.querySelectorAll('.scheduler-game').forEach((place) => {
        const paths = place.dataset.graphs.split(' ');
        Promise.all(paths.map(withSource)).then((graphs) => new Game(place, graphs)).catch((error) => failed(place, error));
    });
})();
