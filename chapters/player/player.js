// The lanes player, and what it shares with the scheduler game (`game.js`).
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
    function reveal(list, row, left = list.scrollLeft) {
        const above = row.offsetTop;
        const below = above + row.offsetHeight;
        let top = list.scrollTop;
        if (above < top) top = above;
        else if (below > top + list.clientHeight) top = below - list.clientHeight;
        // Also where it stands already: it may be on its way to the row before.
        const isThere = top === list.scrollTop && left === list.scrollLeft;
        list.scrollTo({ top, left, behavior: calm() || isThere ? 'instant' : 'smooth' });
    }

    /** What the role of an arrow's start has done, by the arrow's name in the trace. */
    const DONE = {
        'queue to take': 'queued',
        'free to use': 'freed',
        'free to free': 'freed',
        'unlock to lock': 'unlocked',
        'notify to woken': 'notified',
    };

    /** An arrow from one row to a later one, along the left edge of the later one's lane; in words where there are no lanes. */
    class Flow {
        constructor({ from, to, name, slot }, lanes) {
            [this.from, this.to] = [lanes.rows[from], lanes.rows[to]];
            this.goesRight = lanes.columnOf(this.from) < lanes.columnOf(this.to);
            this.slot = slot;
            this.list = lanes.list;
            const svg = (tag, style) => {
                const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
                made.setAttribute('class', style);
                return made;
            };
            this.line = svg('path', 'shaft');
            this.head = svg('path', 'head');
            this.element = svg('svg', `lab-arrow${name.startsWith('free') ? ' bad' : ''}`);
            this.element.setAttribute('aria-hidden', 'true');
            this.element.dataset.rows = `${from + 1} ${to + 1}`;
            this.element.append(this.line, this.head);
            this.to.append(this.element);
        }

        place() {
            const { left, top } = this.list.getBoundingClientRect();
            const [x, y] = [left + this.list.clientLeft, top + this.list.clientTop - this.list.scrollTop];
            const [start, end] = [this.from, this.to].map((row) => row.querySelector('.lab-text'));
            const [[above], [below]] = [start.getClientRects(), end.getClientRects()];
            if (!above || !below) return;
            const text = below.left - x;
            const edge = text - 9 - 3 * this.slot;
            const height = below.top + below.height / 2 - (above.top + above.height / 2);
            const round = Math.min(5, height / 2);
            const before = edge - round;
            const from = this.goesRight ? Math.min(start.getBoundingClientRect().right - x + 4, before) : above.left - x - 3;
            const turn = this.goesRight ? before : Math.min(edge + round, from);
            this.element.style.top = `${above.top + above.height / 2 - y}px`;
            this.element.style.height = `${height}px`;
            this.line.setAttribute('d', `M ${from} 0 H ${turn} Q ${edge} 0 ${edge} ${round} V ${height - round} `
                + `Q ${edge} ${height} ${edge + round} ${height} H ${text - 5}`);
            this.head.setAttribute('d', `M ${text - 2} ${height} l -6 -3.5 v 7 z`);
        }
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

        /** `role` is null for a remark across all lanes; `led`: what has led to it, in words. */
        add({ step, role, text, mark, led }) {
            const at = this.rows.length;
            const column = role === null ? '2 / -1' : String(this.roles.indexOf(role) + 2);
            const crash = /^(SIG|crash)/.test(mark || '');
            const button = element(
                'button',
                { type: 'button', class: `lab-event${crash ? ' bad' : ''}`, style: `--column: ${column}`, tabindex: '-1' },
                role === null ? null : element('span', { class: 'lab-who' }, `${role} `),
                element('span', { class: 'lab-text' }, text, mark ? element('strong', { class: 'lab-mark' }, ` ${mark}`) : null),
                led ? element('span', { class: 'lab-led' }, ` (${led})`) : null,
            );
            button.addEventListener('click', () => this.choose(at));
            const row = element('li', {}, element('span', { class: 'lab-step' }, step ? String(step) : ''), button);
            this.rows.push(row);
            this.list.append(row);
        }

        columnOf(row) {
            return Number(row.querySelector('.lab-event').style.getPropertyValue('--column'));
        }

        /** Draws arrows, each `{ from, to, name }` with its rows; they stay where they belong when the lanes change their size. */
        join(flows) {
            const placed = [];
            for (const { from, to, name } of flows) {
                const column = this.columnOf(this.rows[to]);
                const crossed = placed.filter((other) => other.column === column && other.from < to && from < other.to);
                const slot = [0, 1, 2].find((free) => crossed.every((other) => other.slot !== free)) ?? 2;
                placed.push({ from, to, column, slot, arrow: new Flow({ from, to, name, slot }, this) });
            }
            const observer = new ResizeObserver(() => placed.forEach(({ arrow }) => arrow.place()));
            this.rows.forEach((row) => observer.observe(row));
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

    /** `worker-2` as `W2`. */
    const letter = (role) => role[0].toUpperCase() + (role.match(/\d+$/) || [''])[0];
    const badge = (roles, role) => element('span', { class: `lab-badge lab-role-${role}`, 'aria-hidden': 'true' }, letter(roles[role]));

    /** A stage's whole file, with a mark for each role at its line. */
    class WholeSource {
        constructor(file, lines, roles) {
            this.file = file;
            this.roles = roles;
            this.caption = element('figcaption');
            this.text = element('pre', { class: 'lab-source lab-whole', tabindex: '0', 'aria-label': `Source, ${file}` });
            this.indents = lines.map((line) => line.search(/\S/));
            this.lines = lines.map((line, at) => {
                if (/^\s*\/\/ ANCHOR/.test(line)) return null;
                const number = element('span', { class: 'lab-number', 'aria-hidden': 'true' }, String(at + 1).padStart(4));
                const margin = element('span', { class: 'lab-margin' }, element('span', { class: 'lab-marks' }), number);
                return element('span', {}, margin, ` ${line}\n`);
            });
            this.text.append(...this.lines.filter(Boolean));
            this.element = element('figure', { class: 'lab-figure' }, this.caption, this.text);
        }

        /** `at`: the line of each role, 0 for none; that of `role` is the current one. The text scrolls to the line `near`. */
        show(at, role, near = at[role]) {
            for (const line of this.text.querySelectorAll('.marked')) {
                line.classList.remove('marked', 'now');
                line.removeAttribute('aria-current');
                line.querySelector('.lab-marks').replaceChildren();
            }
            at.forEach((number, other) => {
                const line = this.lines[number - 1];
                if (!line) return;
                line.classList.add('marked');
                line.querySelector('.lab-marks').append(badge(this.roles, other));
            });
            const stand = this.roles.map((name, other) => (at[other] ? `${letter(name)} ${name} at line ${at[other]}` : null));
            this.caption.textContent = `${this.file}: ${stand.filter(Boolean).join(', ') || 'nobody is there yet'}`;
            const now = this.lines[at[role] - 1];
            if (now) {
                now.classList.add('now');
                now.setAttribute('aria-current', 'true');
            }
            this.near = near;
            this.reveal();
        }

        /** Scrolls to the line in question, with some lines around it; to the side only if it does not fit. */
        reveal() {
            const line = this.lines[this.near - 1];
            if (!line) return;
            const { offsetTop, offsetHeight } = line;
            const character = line.querySelector('.lab-number').getBoundingClientRect().width / 4;
            const width = line.querySelector('.lab-margin').offsetWidth + line.lastChild.length * character;
            const indent = this.indents[this.near - 1] - 4;
            const isCut = indent > 0 && width > this.text.clientWidth;
            const left = isCut ? Math.round(indent * character) + line.clientLeft : 0;
            const around = Math.min(60, Math.floor((this.text.clientHeight - offsetHeight) / 2));
            reveal(this.text, { offsetTop: offsetTop - around, offsetHeight: offsetHeight + 2 * around }, left);
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
            const skipped = whole.rows.length - data.rows.length;
            const flows = whole.flows.map(([from, to, name]) => ({ from: from - skipped, to: to - skipped, name }));
            const stepOf = (at) => whole.rows.slice(0, at + 1).findLast(([step, role]) => step && role === whole.rows[at][1])?.[0];
            const words = ({ from, name }) => {
                const step = stepOf(from + skipped);
                return `${DONE[name]} by ${whole.rows[from + skipped][1]}${step ? ` in step ${step}` : ''}`;
            };
            this.led = data.rows.map((_, at) => flows.filter(({ to }) => to === at).map(words).join(', '));
            data.rows.forEach(([step, role, text, mark], at) => this.lanes.add({ step, role, text, mark, led: this.led[at] }));
            this.lanes.join(flows.filter(({ from }) => from >= 0));
            this.panel = new Panel(data.sections);
            this.drawing = window.labDrawing(data);
            this.source = new WholeSource(data.file, source, data.roles);
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
            const tall = button('Whole file', () => {
                const isTall = this.source.element.classList.toggle('tall');
                tall.setAttribute('aria-pressed', String(isTall));
                // Beside the lanes, where the drawing was. What has the focus is not moved.
                if (isTall) beside.append(this.drawing.element, inWords);
                else beside.prepend(this.drawing.element, inWords);
                this.source.reveal();
            }, { 'aria-pressed': 'false', class: 'lab-tall' });
            this.source.element.prepend(tall);
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
            for (let at = live.closest('details'); at; at = at.parentElement.closest('details')) at.open = true;
            this.go(Number(row) - 1);
            live.scrollIntoView({ block: 'start', behavior: 'instant' });
            live.focus({ preventScroll: true });
        }

        go(row) {
            this.at = Math.max(0, Math.min(row, this.rows.length - 1));
            const [step, role, text, mark, line, panel] = this.rows[this.at];
            const led = this.led[this.at];
            this.lanes.mark(this.at);
            this.panel.show(panel);
            this.drawing.show(this.rows[this.at]);
            const lineOf = (of) => this.rows.slice(0, this.at + 1).findLast((row) => (of ? row[1] === of : true) && row[4])?.[4] || 0;
            const at = this.lanes.roles.map((of) => (of === role ? line || 0 : lineOf(of)));
            this.source.show(at, this.lanes.roles.indexOf(role), lineOf());
            this.slider.value = this.at;
            this.link.href = `#${this.name}:${this.at + 1}`;
            const place = `Row ${this.at + 1} of ${this.rows.length}`;
            const said = [step ? `step ${step}` : null, role].filter(Boolean).join(', ');
            this.slider.setAttribute('aria-valuetext', `${place}: ${role || ''} ${text}`);
            this.live.textContent = `${place}${said ? `, ${said}` : ''}: ${text}${led ? `, ${led}` : ''}${mark ? ` (${mark})` : ''}`;
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
            // In the source they scroll.
            if (event.target === this.source.text && event.key !== ' ') return event.stopPropagation();
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

    /** Listings that are too wide scroll, so the keyboard must come to them too. */
    function reachable() {
        for (const code of document.querySelectorAll('pre > code')) {
            if (code.scrollWidth <= code.clientWidth) continue;
            code.tabIndex = 0;
            // mdBook turns pages with the arrow keys.
            code.addEventListener('keydown', (event) => event.key.startsWith('Arrow') && event.stopPropagation());
        }
        // Tables have their place in the order of Tab already.
        for (const scroller of document.querySelectorAll('.lab-scroller')) {
            scroller.addEventListener('keydown', (event) => event.key.startsWith('Arrow') && event.stopPropagation());
        }
    }
    addEventListener('load', reachable);

    function failed(place, error) {
        place.append(element('p', { class: 'lab-live' }, `The player did not load: ${error.message}.`));
    }

    const players = [...document.querySelectorAll('.lanes-player')].map((place) =>
        withSource(place.dataset.trace).then((loaded) => new Player(place, loaded)).catch((error) => failed(place, error)));
    // Once all of them have their height, the one that a link means is where it stays.
    Promise.all(players).then(() => dispatchEvent(new Event('hashchange')));
    // For the game and the listings, which are files of their own.
    window.lab = { Lanes, Panel, Source, WholeSource, badge, button, element, failed, load, replace, reveal, thousands, withSource };
})();
