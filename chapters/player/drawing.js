// The drawing of a moment in a run: sockets and the interest list, who leads to which session, and what was freed.
//
// It shows what the recording says and no more: the sections of its panel, and its arrows.
'use strict';

(() => {
    const WIDTH = 400;
    const LINE = 22;
    const GAP = 8;
    /** Where the memory begins. */
    const MEMORY = 212;
    /** Where a listener's wait queue begins. */
    const QUEUE = 150;

    function shape(tag, attributes, ...children) {
        const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
        for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
        made.append(...children);
        return made;
    }

    /** What does not fit is cut; the whole of it is in the list beside the drawing. */
    function fitting(text, room) {
        const characters = Math.floor(room / 6.1);
        return text.length <= characters ? text : `${text.slice(0, characters - 1)}…`;
    }

    const text = (x, y, content, style = '') => shape('text', { x, y, class: style }, content);

    /** A box with its name, and what there is to say of it behind the name. */
    function box({ x, y, width, name, detail = '', style = '' }) {
        const label = shape('text', { x: x + 8, y: y + 15 }, shape('tspan', { class: 'name' }, name));
        const room = width - 20 - name.length * 7;
        if (detail) label.append(shape('tspan', { dx: 6 }, fitting(detail, room)));
        return shape('g', { class: `box ${style}` }, shape('rect', { x, y, width, height: LINE - 2, rx: 3 }), label);
    }

    /** The shapes of one row of a recording, and how high they are. */
    function layout(row, threads) {
        const [, role, , , , [interest, queue, memory, sockets], arrows] = row;
        const shapes = [];
        let y = 4;
        const heading = (x, at, words) => shapes.push(text(x, at + 12, words, 'heading'));
        const now = (name) => (name === role ? 'now' : '');

        // The kernel: the client's bytes, and what is asked of whom.
        if (sockets.length > 0) {
            for (const [name, detail, tone] of sockets) {
                shapes.push(box({ x: 4, y, width: 84, name: 'client', style: role?.startsWith('client') ? 'now' : '' }));
                shapes.push(shape('path', { class: 'wire', d: `M 90 ${y + 10} H 112`, 'marker-end': 'url(#lab-tip)' }));
                shapes.push(box({ x: 118, y, width: WIDTH - 122, name, detail, style: tone }));
                y += LINE;
            }
            y += GAP;
        }
        heading(4, y, 'interest list');
        y += LINE - 4;
        for (const [name, detail, tone] of interest) {
            const asked = detail.replace('reported, not armed: ', 'not armed: ');
            shapes.push(shape('circle', { class: `lamp ${tone}`, cx: 12, cy: y + 10, r: 5 }));
            shapes.push(box({ x: 24, y, width: WIDTH - 28, name, detail: asked, style: tone }));
            y += LINE;
        }
        y += GAP;

        // Who leads where: the map, the tasks, the threads; beside them the memory.
        const top = y;
        const anchors = new Map();
        heading(4, y, 'who knows');
        heading(MEMORY, y, 'memory');
        y += LINE - 4;
        const known = (key, name, detail, style) => {
            anchors.set(key, y + 10);
            shapes.push(box({ x: 4, y, width: 152, name, detail, style }));
            y += LINE;
        };
        const tasks = queue.filter(([, detail]) => detail === '');
        known('map', 'main', arrows.some(([from]) => from === 'map') ? 'its map' : '', now('main'));
        tasks.forEach(([name], at) => known(`queue ${at + 1}`, at === 0 ? 'queue' : `queue ${at + 1}`, name, 'task'));
        if (tasks.length === 0) known('queue', 'queue', 'empty', 'empty');
        for (const thread of threads) known(thread, thread, '', now(thread));
        for (const [name, detail, tone] of queue.filter(([, detail]) => detail !== '')) {
            shapes.push(text(12, y + 14, `${name}: ${detail}`, `note ${tone}`));
            y += LINE - 4;
        }
        let below = top + LINE - 4;
        const blocks = new Map();
        for (const [name, detail, tone] of memory) {
            blocks.set(name, below + 10);
            const parts = detail.split(', ');
            parts.forEach((part, at) => {
                const own = at === 0 ? name : '';
                shapes.push(box({ x: MEMORY, y: below, width: WIDTH - MEMORY - 4, name: own, detail: part, style: tone }));
                below += LINE;
            });
        }
        for (const [from, to, tone] of arrows) {
            const [start, end] = [anchors.get(from), blocks.get(to)];
            if (start === undefined || end === undefined) continue;
            const d = `M 158 ${start} C 190 ${start} 180 ${end} ${MEMORY - 2} ${end}`;
            const tip = tone === 'bad' ? 'url(#lab-bad-tip)' : 'url(#lab-tip)';
            shapes.push(shape('path', { class: `wire ${tone}`, d, 'marker-end': tip }));
        }
        return { shapes, height: Math.max(y, below) + 4 };
    }

    /** The same where reactors wait for one listener: who sleeps there, whom a connection has woken, and who of them for nothing. */
    function herd(row) {
        const [, role, , , , [waits, reactors, wakeups, sockets], arrows] = row;
        const shapes = [];
        let y = 4;
        const now = (name) => (name === role ? 'now' : '');
        for (const [name, detail, tone] of sockets) {
            shapes.push(box({ x: 4, y, width: 84, name: 'client', style: now('client') }));
            shapes.push(shape('path', { class: 'wire', d: `M 90 ${y + 10} H 112`, 'marker-end': 'url(#lab-tip)' }));
            shapes.push(box({ x: 118, y, width: WIDTH - 122, name, detail, style: tone }));
            y += LINE + GAP;
        }
        shapes.push(text(QUEUE, y + 12, `in its wait queue: ${waits[0][1]}`, 'heading'));
        y += LINE - 2;
        const middle = y + (reactors.length * (LINE + GAP) - GAP) / 2;
        shapes.push(box({ x: 4, y: middle - 10, width: 84, name: 'listener' }));
        const heights = new Map();
        reactors.forEach(([name, detail, tone], at) => {
            heights.set(name, y + 10);
            shapes.push(shape('circle', { class: `lamp ${waits[at][2]}`, cx: QUEUE + 6, cy: y + 10, r: 5 }));
            shapes.push(box({ x: QUEUE + 18, y, width: WIDTH - QUEUE - 22, name, detail, style: `${tone === 'bad' ? 'vain' : tone} ${now(name)}` }));
            y += LINE + GAP;
        });
        for (const [, to, tone] of arrows) {
            const end = heights.get(to);
            const d = `M 90 ${middle} C 125 ${middle} 110 ${end} ${QUEUE - 3} ${end}`;
            const marker = tone === 'bad' ? 'url(#lab-bad-tip)' : 'url(#lab-tip)';
            shapes.push(shape('path', { class: `wire ${tone}`, d, 'marker-end': marker }));
        }
        for (const [name, detail, tone] of wakeups) {
            shapes.push(text(QUEUE + 18, y + 12, `${name}: ${detail}`, `note ${tone}`));
            y += LINE - 4;
        }
        return { shapes, height: y + 4 };
    }

    function herdDescribed([, , , , , [waits, reactors, wakeups], arrows]) {
        const asked = waits.map(([name, detail]) => `${name} waits for ${detail}`);
        const stands = reactors.map(([name, detail]) => `${name} ${detail}`);
        const wakes = arrows.map(([from, to, tone]) => `the ${from} wakes ${to}${tone === 'bad' ? ' in vain' : ''}`);
        return [...asked, ...stands, ...wakes, ...wakeups.map(([name, detail]) => `${name}: ${detail}`)].join('; ');
    }

    function described([, , , , , [interest, , memory], arrows]) {
        const leads = arrows.map(([from, to, tone]) => `${from} leads to ${to}${tone === 'bad' ? ', which is freed' : ''}`);
        const armed = interest.map(([name, , tone]) => `${name} is ${tone === 'on' ? 'armed' : 'not armed'}`);
        const blocks = memory.map(([name, detail]) => `${name}: ${detail}`);
        return [...armed, ...blocks, ...leads].join('; ') || 'Nothing yet.';
    }

    const tip = (id, style) =>
        shape(
            'marker',
            { id, viewBox: '0 0 8 8', refX: 7, refY: 4, markerUnits: 'userSpaceOnUse', markerWidth: 9, markerHeight: 9, orient: 'auto' },
            shape('path', { d: 'M 0 0 L 8 4 L 0 8 z', class: `tip ${style}` }),
        );

    /** One for all rows of a recording: it is as high as the highest of them, so that nothing below it jumps. */
    class Drawing {
        constructor(data) {
            const threads = data.roles.filter((role) => /^(worker|reactor)/.test(role));
            const isHerd = data.sections.includes('Reactors');
            this.layout = isHerd ? herd : (row) => layout(row, threads);
            this.described = isHerd ? herdDescribed : described;
            const height = Math.max(...data.rows.map((row) => this.layout(row).height));
            this.element = shape('svg', { class: 'lab-drawing', viewBox: `0 0 ${WIDTH} ${height}`, role: 'img' });
        }

        show(row) {
            this.element.setAttribute('aria-label', this.described(row));
            const tips = shape('defs', {}, tip('lab-tip', ''), tip('lab-bad-tip', 'bad'));
            this.element.replaceChildren(tips, ...this.layout(row).shapes);
        }
    }

    window.labDrawing = (data) => new Drawing(data);
})();
