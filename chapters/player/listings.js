// Line numbers for the listings of the stages, links to their lines from the reports, and long listings folded.
//
// A listing is a part of a stage's file, or several: where its lines are found there, they get that file's numbers. A
// place in a report (`lab/stages/stage4_broken.rs:141`, `stage4_broken.cpp:51`) leads to its line in a listing of the same
// page, and that line is marked.
// Of a long listing only the lines around those that matter are shown, or its first; a button shows all of it. On paper
// and without this file every listing stands whole.
'use strict';

(() => {
    const { load, element } = window.lab;
    const PLACE = /lab\/stages\/(?<stage>\w+)\.rs:(?<line>\d+)|\b(?<twin>stage\w+)\.cpp:(?<at>\d+)/g;
    const LISTINGS = 'pre > code.language-rust, pre > code.language-cpp';
    /** Up to how many lines a listing stands whole, and how many of a longer one are shown. */
    const ROOM = { 'language-rust': { whole: 20, shown: 20 }, 'language-diff': { whole: 32, shown: 20 } };
    /** So few lines are not worth hiding. */
    const FEW = 5;
    /** What matters in a listing, most of all first. */
    const MATTERS = [
        // What a report blames.
        (row) => row.matches('.guilty'),
        // What is another in the other twin.
        (row) => row.matches('[data-lesson]'),
        // Where a step of a schedule begins.
        (row) => /\bpoint\("/.test(row.textContent) && !row.closest('.language-diff'),
    ];
    /** For a folded listing: how it is opened and closed. */
    const folds = new Map();

    /** The children of `code` as a list of lines; what was highlighted over several lines is so in each of them. */
    function linesOf(code) {
        const lines = [document.createDocumentFragment()];
        const walk = (node, wrap) => {
            for (const child of node.childNodes) {
                if (child.nodeType !== Node.TEXT_NODE) {
                    const shell = child.cloneNode(false);
                    walk(child, (inner) => {
                        const copy = shell.cloneNode(false);
                        copy.append(inner);
                        return wrap(copy);
                    });
                    continue;
                }
                child.data.split('\n').forEach((part, at) => {
                    if (at > 0) lines.push(document.createDocumentFragment());
                    if (part) lines[lines.length - 1].append(wrap(new Text(part)));
                });
            }
        };
        walk(code, (inner) => inner);
        if (!lines[lines.length - 1].textContent) lines.pop();
        return lines;
    }

    /**
     * The number that each of these lines has in the source, or `null` if they do not stand there: in one piece, or in
     * several with an empty line of the source between them.
     */
    function numbersOf(lines, source) {
        const listed = source.map((text, at) => [text, at + 1]).filter(([text]) => !/^\s*\/\/ ANCHOR/.test(text));
        const numbers = [];
        while (numbers.length < lines.length) {
            const rest = lines.slice(numbers.length);
            let piece = [];
            listed.forEach((_, from) => {
                const ends = rest.findIndex((line, at) => listed[from + at]?.[0] !== line);
                const length = ends < 0 ? rest.length : ends;
                if (length > piece.length) piece = listed.slice(from, from + length);
            });
            const isCut = numbers.length > 0 && rest[0] !== '' && lines[numbers.length - 1] !== '';
            if (isCut || piece.length < 2) return null;
            numbers.push(...piece.map(([, number]) => number));
        }
        return numbers;
    }

    /** Makes an element of each line, with the attributes that `of` gives it. */
    function split(code, lines, of) {
        code.replaceChildren(...lines.map((line, at) => element('span', { class: 'lab-line', ...of(at) }, line, '\n')));
    }

    function number(code, stage, source) {
        const lines = linesOf(code);
        const numbers = numbersOf(lines.map((line) => line.textContent), source);
        if (!numbers) return false;
        // The lines that differ in the other twin.
        const differs = new Set();
        let inside = false;
        source.forEach((text, at) => {
            if (/\/\/ ANCHOR(_END)?: lesson/.test(text)) inside = !text.includes('_END');
            else if (inside) differs.add(at + 1);
        });
        split(code, lines, (at) => {
            const id = `${stage}-${numbers[at]}`;
            const lesson = differs.has(numbers[at]) ? '' : null;
            // The same lines may be listed twice: the first are the target.
            return { 'data-line': numbers[at], 'data-lesson': lesson, id: document.getElementById(id) ? null : id };
        });
        code.classList.add('lab-listing');
        return true;
    }

    /** A place in a report becomes a link, where its line is listed. */
    function link(code) {
        for (const node of [...code.childNodes].filter((child) => child.nodeType === Node.TEXT_NODE)) {
            const parts = [];
            let from = 0;
            for (const place of node.data.matchAll(PLACE)) {
                const { stage, line: number, twin, at } = place.groups;
                const line = document.getElementById(stage ? `${stage}-${number}` : `cpp_${twin}-${at}`);
                if (!line) continue;
                line.classList.add('guilty');
                parts.push(node.data.slice(from, place.index), element('a', { href: `#${line.id}` }, place[0]));
                from = place.index + place[0].length;
            }
            if (parts.length > 0) node.replaceWith(...parts, node.data.slice(from));
        }
    }

    /** The runs of rows that do not stand within `around` rows of a centre, nor among the `first`. */
    function between(rows, centres, around, first) {
        const runs = [[]];
        rows.forEach((row, at) => {
            const isShown = at < first || centres.some((centre) => Math.abs(centre - at) <= around);
            if (isShown) runs.push([]);
            else runs[runs.length - 1].push(row);
        });
        return runs.filter((run) => run.length > FEW);
    }

    /** What a folded listing leaves out: it shows as much around what matters as there is room for, or else its beginning. */
    function gaps(rows, room) {
        for (let kinds = MATTERS.length; kinds > 0; kinds -= 1) {
            const centres = rows.flatMap((row, at) => (MATTERS.slice(0, kinds).some((matters) => matters(row)) ? [at] : []));
            for (let around = 8; around > 0 && centres.length > 0; around -= 1) {
                const runs = between(rows, centres, around, 2);
                if (rows.length - runs.flat().length <= room) return runs;
            }
        }
        return between(rows, [], 0, room);
    }

    function fold(code) {
        const { whole, shown } = ROOM[[...code.classList].find((name) => name in ROOM)];
        if (code.textContent.trimEnd().split('\n').length <= whole) return;
        if (!code.querySelector('.lab-line')) split(code, linesOf(code), () => ({}));
        const rows = [...code.children];
        const hidden = gaps(rows, shown).map((gap) => {
            const away = element('span', { class: 'lab-away' });
            gap[0].before(element('span', { class: 'lab-gap', 'data-count': `${gap.length} lines` }), away);
            away.append(...gap);
            return away;
        });
        if (hidden.length === 0) return;
        const button = element('button', { type: 'button', class: 'lab-unfold' });
        const show = (all) => {
            // What is hidden so is found by the browser's search and by links, and then shown.
            const how = 'onbeforematch' in code ? 'until-found' : '';
            hidden.forEach((away) => (all ? away.removeAttribute('hidden') : away.setAttribute('hidden', how)));
            button.setAttribute('aria-expanded', String(all));
            button.textContent = all ? 'Show fewer lines' : `Show all ${rows.length} lines`;
        };
        show(false);
        button.addEventListener('click', () => {
            show(button.getAttribute('aria-expanded') === 'false');
            button.scrollIntoView({ block: 'nearest', behavior: 'instant' });
        });
        code.addEventListener('beforematch', () => show(true));
        const pre = code.parentElement;
        // Whoever copies a listing means all of it.
        pre.addEventListener('click', ({ target }) => target.closest('.clip-button') && show(true), true);
        pre.after(button);
        folds.set(code, show);
    }

    /** Goes to the line that the address names. */
    function arrive() {
        const line = document.getElementById(location.hash.slice(1));
        if (!line?.matches('.lab-line')) return;
        folds.get(line.closest('code'))?.(true);
        line.scrollIntoView();
    }

    async function all() {
        const listings = [...document.querySelectorAll(LISTINGS)];
        const reports = [...document.querySelectorAll('pre > code')].filter((code) => code.textContent.match(PLACE));
        // The stages whose sources the page names, by itself or by its players and games.
        const places = [...document.querySelectorAll('[data-trace], [data-graphs], [data-sources]')];
        const named = places.map(({ dataset: { trace, graphs, sources } }) => trace || graphs || sources).join(' ');
        const names = listings.length === 0 ? [] : named.match(/stage\d+_(broken|fixed)|(?<=traces\/)\w+(?=\.source)/g) || [];
        const loading = [...new Set(names)].map(async (stage) => [stage, await load(`traces/${stage}.source.js`)]);
        const sources = await Promise.all(loading);
        for (const code of listings) sources.some(([stage, source]) => number(code, stage, source));
        reports.forEach(link);
        document.querySelectorAll(Object.keys(ROOM).map((name) => `pre > code.${name}`)).forEach(fold);
        // Its target has come to be only now.
        arrive();
        addEventListener('hashchange', arrive);
    }

    all();
})();
